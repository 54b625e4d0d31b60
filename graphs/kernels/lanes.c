/* Fills the tables when the library is loaded, on whatever processor. */

#include "lanes.h"

#include <string.h>

uint8_t front_lanes[256][8], back_lanes[256][8], front_words[16][16], back_words[16][16];

static void fill_bytes(const uint8_t lanes[4], uint8_t bytes[16]) {
    for (int i = 0; i < 16; i++)
        bytes[i] = lanes[i / 4] == NONE ? NONE : (uint8_t)(4 * lanes[i / 4] + i % 4);
}

__attribute__((constructor)) static void fill_tables(void) {
    memset(front_lanes, NONE, sizeof front_lanes);
    memset(back_lanes, NONE, sizeof back_lanes);
    for (unsigned mask = 0; mask < 256; mask++) {
        uint8_t count = 0;
        for (uint8_t lane = 0; lane < 8; lane++)
            if (mask >> lane & 1) {
                front_lanes[mask][count] = lane;
                back_lanes[mask][lane] = count++;
            }
    }
    for (unsigned mask = 0; mask < 16; mask++) {
        fill_bytes(front_lanes[mask], front_words[mask]);
        fill_bytes(back_lanes[mask], back_words[mask]);
    }
}
