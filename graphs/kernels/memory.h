/* Memory of tensors and of kernels. Pages that are freed serve again, since the system clears every page that it hands
 * out, which takes longer than most kernels do. No more is held than was in use at one time: so the most memory that a
 * step takes stays what it would be if all were given back at once.
 */
#pragma once

#include "ort.h"

/* Memory of that many bytes, aligned to 64; null: there is none. */
void *memory_take(size_t bytes);

/* What memory_take gave, or null. */
void memory_free(void *);

/* Gives what is held back to the system; how much was in use no longer counts. */
void memory_return(void);

/* From now on pages serve again; until then memory is malloc's. */
void memory_recycle(void);

/* Has the tensors of sessions with these options here, and pages serve again, if the runtime is 1.23 or newer. */
OrtStatus *memory_serve(const OrtApiBase *, const OrtApi *, OrtSessionOptions *);
