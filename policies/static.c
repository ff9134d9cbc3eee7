/* A fixed count, whatever happens: the fleet every autoscaler is measured against. Must never look at anything. */
#include "common.h"

struct fixed {
    int count;
};

static const struct as_option options[] = {
    { .name = "count",
      .type = AS_OPT_INT,
      .flags = AS_OPT_REQUIRED,
      .min = 0,
      .max = POLICY_COUNT_MAX,
      .help = "so many instances, always" },
    { 0 },
};

static int static_init(void *state, const struct as_settings *settings, struct as_error *err)
{
    (void)err;
    ((struct fixed *)state)->count = (int)as_settings_int(settings, "count");
    return AS_OK;
}

static void static_decide(void *state, const struct as_view *view, struct as_proposal *out)
{
    const struct fixed *f = state;
    (void)view;
    out->kind = AS_WANT;
    out->count = f->count;
    policy_words(out, "always ", policy_num(f->count).s, NULL);
}

const struct as_policy_type as_policy_static = {
    .name = "static",
    .summary = "baseline: a fixed count",
    .options = options,
    .state_size = sizeof(struct fixed),
    .damps_itself = true,
    .init = static_init,
    .decide = static_decide,
};
