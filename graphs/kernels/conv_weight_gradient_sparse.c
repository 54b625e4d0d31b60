/* The weight gradient from the kept values alone: for each element that is kept, and each tap that it meets, the
 * gradient's pixel there times the value, for all output channels at once, in vectors.
 *
 * The work is cut into tasks of some images, output channels and channels. A task goes through its images tile by
 * tile: it gathers the kept values, and for each block of output channels it lays out the gradient and adds. Meanwhile
 * the gradient of the next block is fetched: much of the time would else be spent on waiting for it. The sums of a task
 * are [block of output channels][channel][tap][width]. Where they are few, images are in groups that have sums of
 * their own: there are more tasks to share then. How the work is cut and in what order sums are added depends on the
 * shapes alone.
 */

#include "conv_weight_gradient_plan.h"
#include "conv_weight_gradient_stored.h"

enum { SPARE = 16 };

struct Job {
    const struct Plan *plan;
    float *sums;        /* of all tasks, where there are groups; else null, and each task finishes by itself */
    char *spare[SPARE]; /* memory of tasks that are done, for the next ones: it is at hand, new memory is not */
    bool failed;
};

/* The memory of a task. */
struct Work {
    float *sums, *gradient;
    uint16_t *gradient_places;
    struct Elements elements;
    struct Passing passing;
    struct Kept *lists;
    size_t *cursors, cursor_pitch;
};

/* Memory for `count` things behind what is taken already; null as long as there is none. */
static void *take(char *memory, size_t *taken, size_t count, size_t size) {
    void *place = memory ? memory + *taken : NULL;
    *taken += ceil_divide(count * size, 64) * 64;
    return place;
}

/* Gives each part of the work its memory. Returns how much that is. */
static size_t arrange(const struct Plan *plan, struct Work *work, char *memory) {
    size_t taken = 0, range = plan->tile.rows * plan->conv->columns.size + GATHER_SLACK, images = plan->tile.images;
    size_t listed = plan->listed + GATHER_SLACK;
    work->cursor_pitch = plan->task_channels + PREFETCHED;
    work->elements.pitch = range;
    work->sums = take(memory, &taken, plan->groups > 1 ? 0 : sums_of_task(plan), sizeof(float));
    work->gradient = take(memory, &taken, plan->block * LANES * plan->tile.pixels, sizeof(float));
    work->gradient_places = take(memory, &taken, plan->tile.pixels, sizeof(uint16_t));
    work->elements.places = take(memory, &taken, images * range, sizeof(uint16_t));
    work->elements.phases = take(memory, &taken, range, sizeof(uint16_t));
    work->passing.places = take(memory, &taken, range, sizeof(uint16_t));
    work->passing.phases = take(memory, &taken, range, sizeof(uint16_t));
    work->passing.values = take(memory, &taken, range, sizeof(float));
    work->passing.filled = take(memory, &taken, plan->phases, sizeof(uint32_t));
    work->passing.room = plan->listed - phase_elements(plan);
    work->cursors = take(memory, &taken, images * work->cursor_pitch, sizeof(size_t));
    work->lists = take(memory, &taken, plan->phases, sizeof *work->lists);
    for (size_t phase = 0; phase < plan->phases; phase++) {
        struct Kept list = {.places = take(memory, &taken, listed, sizeof(uint16_t)),
                            .values = take(memory, &taken, listed, sizeof(float)),
                            .begins = take(memory, &taken, plan->task_channels + 1, sizeof(uint32_t))};
        if (memory)
            work->lists[phase] = list;
    }
    return taken;
}

static void set_cursors(const struct Plan *plan, const struct Tile *tile, const struct Part *part, struct Work *work) {
    const struct Convolution *conv = plan->conv;
    size_t plane = conv->rows.size * conv->columns.size;
    memset(work->cursors, 0, tile->images * work->cursor_pitch * sizeof(size_t));
    for (size_t image = 0; image < tile->images; image++) {
        size_t *cursors = work->cursors + image * work->cursor_pitch;
        size_t element = ((tile->image + image) * conv->channels + part->channel) * plane;
        size_t kept = kept_before(&conv->x, element);
        for (size_t channel = 0; channel < part->channels; channel++, element += plane) {
            cursors[channel] = kept;
            kept += kept_among(&conv->x, element, plane);
        }
    }
}

/* Adds to the sums of a block what the lists have for one phase: [rows of taps][columns of taps] in small blocks. */
static void add_phase(const struct Plan *plan, const struct Tile *tile, const struct Phase *phase, size_t vectors,
                      struct Addition addition) {
    const struct Axis *down = &plan->conv->rows, *across = &plan->conv->columns;
    size_t width = vectors * LANES;
    const float *gradient = addition.gradient;
    float *sums = addition.sums;
    addition.pitch = tile->row_pitch * width;
    addition.channel_pitch = plan->taps * width;
    addition.row_pitch = down->stride * across->kernel * width;
    addition.column_pitch = across->stride * width;
    for (size_t row = 0; row < phase->rows; row += MOST_TAPS)
        for (size_t column = 0; column < phase->columns; column += MOST_TAPS) {
            size_t tap_row = phase->row + (phase->rows - 1 - row) * down->stride;
            size_t tap_column = phase->column + (phase->columns - 1 - column) * across->stride;
            addition.gradient = gradient + (row * tile->row_pitch + column) * width;
            addition.sums = sums + (tap_row * across->kernel + tap_column) * width;
            add_block(&addition, least(MOST_TAPS, phase->rows - row), least(MOST_TAPS, phase->columns - column),
                      vectors);
        }
}

/* A tile of a task, and the one behind it: of no images if there is none. */
struct Step {
    struct Tile tile, next;
    bool first;
};

static size_t output_channel(const struct Plan *plan, const struct Part *part, size_t vector) {
    return plan->conv->begin + (part->vector + vector) * LANES;
}

/* What is laid out behind the blocks before `vector`, to be fetched while so many channels are added: the next block of
 * this tile, or the first one of this for other channels or of the next tile. */
static struct Ahead ahead_of(const struct Plan *plan, const struct Step *step, const struct Part *part, size_t vector,
                             size_t channels, bool last_channels) {
    bool new_tile = vector == part->vectors && last_channels;
    size_t block = vector < part->vectors ? vector : 0;
    if (new_tile && !step->next.images)
        return (struct Ahead){.every = UINT32_MAX};
    return look_ahead(plan->conv, new_tile ? &step->next : &step->tile, output_channel(plan, part, block),
                      block_at(plan, part, block) * LANES, channels);
}

static void add_lists(const struct Plan *plan, const struct Step *step, const struct Part *part,
                      const struct Work *work, size_t channel, size_t channels) {
    const struct Convolution *conv = plan->conv;
    bool last_channels = channel + channels == part->channels;
    for (size_t vector = 0, vectors; vector < part->vectors; vector += vectors) {
        vectors = block_at(plan, part, vector);
        lay_gradient(conv, &step->tile, work->gradient_places, output_channel(plan, part, vector), vectors * LANES,
                     work->gradient);
        struct Ahead ahead = ahead_of(plan, step, part, vector + vectors, channels, last_channels);
        float *sums = work->sums + plan->taps * LANES * (vector * part->channels + vectors * channel);
        for (size_t number = 0; number < plan->phases; number++) {
            struct Phase phase = phase_at(conv, number);
            struct Addition addition = {.kept = work->lists[number],
                                        .channels = channels,
                                        .gradient = work->gradient,
                                        .sums = sums,
                                        .first = step->first,
                                        .ahead = &ahead};
            add_phase(plan, &step->tile, &phase, vectors, addition);
        }
    }
}

static void add_tile(const struct Plan *plan, const struct Step *step, const struct Part *part, struct Work *work) {
    if (!step->tile.row)
        set_cursors(plan, &step->tile, part, work);
    for (size_t channel = 0, channels; channel < part->channels; channel += channels) {
        channels = gather_kept(plan->conv, &step->tile, &work->elements, part->channel + channel,
                               part->channels - channel, work->cursors + channel, work->cursor_pitch, &work->passing,
                               work->lists);
        add_lists(plan, step, part, work, channel, channels);
    }
}

/* LANES output channels of the sums to their rows of the result. */
static void finish_vector(const struct Plan *plan, const struct Part *part, size_t vector, size_t width,
                          const float *sums) {
    const struct Convolution *conv = plan->conv;
    size_t columns = part->channels * plan->taps, pitch = conv->channels * plan->taps;
    size_t group = vector_parts(plan) * channel_parts(plan) * sums_of_task(plan);
    size_t output = (part->vector + vector) * LANES, outputs = least(LANES, conv->end - conv->begin - output);
    float *result = conv->result + output * pitch + part->channel * plan->taps;
    for (size_t column = 0; column < columns; column += LANES) {
        size_t present = least(LANES, columns - column);
        Vector square[LANES];
        for (size_t i = 0; i < LANES; i++) {
            square[i] = (Vector){0};
            for (size_t number = 0; i < present && number < plan->groups; number++)
                square[i] += load(sums + number * group + (column + i) * width);
        }
        transpose_square(square);
        for (size_t i = 0; i < outputs; i++)
            if (present == LANES)
                store(result + i * pitch + column, square[i]);
            else
                memcpy(result + i * pitch + column, &square[i], present * sizeof(float));
    }
}

static void finish(const struct Plan *plan, const struct Part *part, const float *sums) {
    for (size_t vector = 0, vectors; vector < part->vectors; vector += vectors) {
        vectors = block_at(plan, part, vector);
        for (size_t i = 0; i < vectors; i++)
            finish_vector(plan, part, vector + i, vectors * LANES,
                          sums + plan->taps * LANES * vector * part->channels + i * LANES);
    }
}

/* The tile that begins there, in a group of images up to `end`. */
static struct Tile tile_at(const struct Plan *plan, size_t image, size_t row, size_t end) {
    struct Tile tile = {.image = image,
                        .images = least(plan->tile.images, end - image),
                        .row = row,
                        .rows = least(plan->tile.rows, plan->conv->rows.size - row)};
    complete_tile(plan->conv, &tile);
    return tile;
}

static struct Tile tile_behind(const struct Plan *plan, const struct Tile *tile, size_t end) {
    size_t row = tile->row + tile->rows;
    bool whole = row == plan->conv->rows.size;
    return tile_at(plan, tile->image + (whole ? tile->images : 0), whole ? 0 : row, end);
}

static void add_tiles(const struct Plan *plan, const struct Part *part, struct Work *work) {
    size_t begin = group_begin(plan, part->group), end = group_begin(plan, part->group + 1);
    place_gradient(plan->conv, &plan->tile, work->gradient_places);
    place_elements(plan->conv, &plan->tile, &work->elements);
    for (struct Step step = {.tile = tile_at(plan, begin, 0, end), .first = true}; step.tile.images;
         step = (struct Step){.tile = step.next}) {
        step.next = tile_behind(plan, &step.tile, end);
        add_tile(plan, &step, part, work);
    }
}

static char *take_spare(struct Job *job) {
    char *memory = NULL;
    for (int i = 0; i < SPARE && !memory; i++)
        memory = __atomic_exchange_n(&job->spare[i], NULL, __ATOMIC_ACQ_REL);
    return memory;
}

static void give_spare(struct Job *job, char *memory) {
    for (int i = 0; i < SPARE && memory; i++)
        memory = __atomic_exchange_n(&job->spare[i], memory, __ATOMIC_ACQ_REL);
    memory_free(memory);
}

static void run_task(void *context, size_t task) {
    struct Job *job = context;
    struct Part part = part_at(job->plan, task);
    struct Work work;
    char *memory = take_spare(job);
    if (!memory)
        memory = memory_take(arrange(job->plan, &work, NULL));
    if (!memory) {
        __atomic_store_n(&job->failed, true, __ATOMIC_RELAXED);
        return;
    }
    arrange(job->plan, &work, memory);
    if (job->sums)
        work.sums = job->sums + task * sums_of_task(job->plan);
    add_tiles(job->plan, &part, &work);
    if (!job->sums)
        finish(job->plan, &part, work.sums);
    give_spare(job, memory);
}

static void finish_task(void *context, size_t task) {
    const struct Job *job = context;
    struct Part part = part_at(job->plan, task);
    finish(job->plan, &part, job->sums + task * sums_of_task(job->plan));
}

OrtStatus *sparse_weight_gradient(const struct Call *call, const struct Convolution *conv) {
    struct Plan plan;
    struct Job job = {.plan = &plan};
    void *sums = NULL;
    TRY(make_plan(call, conv, &plan));
    size_t tasks = vector_parts(&plan) * channel_parts(&plan);
    if (plan.groups > 1)
        TRY(scratch(call, plan.groups * tasks * sums_of_task(&plan) * sizeof(float), &sums));
    job.sums = sums;
    pool_run(&call->pool, plan.groups * tasks, run_task, &job);
    for (int i = 0; i < SPARE; i++)
        memory_free(job.spare[i]);
    if (job.sums && !job.failed)
        pool_run(&call->pool, tasks, finish_task, &job);
    memory_free(sums);
    return job.failed ? FAIL(call, "no memory") : NULL;
}
