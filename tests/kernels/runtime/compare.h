/* Whether a tensor is what it shall be. */
#pragma once

#include "runtime.h"

/* How far elements of float32 may be off: by this part of what is expected, of its root mean square, or of this size,
 * whichever is largest. */
struct Tolerance {
    double part, size;
};

/* Of one type, shape and content; NaN is NaN, whatever its bits. Otherwise tells how they differ. */
bool is_same(const OrtValue *found, const OrtValue *expected, struct Tolerance, char *difference, size_t room);
