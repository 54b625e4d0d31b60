/* How the lanes of a vector move, for each mask of them. NONE, as a place to come from, stands for zero. */
#pragma once

#include <stdint.h>

enum { NONE = 255 };

/* For a mask of eight lanes: where each lane comes from when those that are set move to the front, in order; and when
 * the first ones move to those that are set. */
extern uint8_t front_lanes[256][8], back_lanes[256][8];

/* The same for a mask of four lanes of four bytes, byte by byte. */
extern uint8_t front_words[16][16], back_words[16][16];
