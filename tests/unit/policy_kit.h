/* What the policy tests share: a policy made from configuration text, one input, one look at it. */
#ifndef TESTS_POLICY_KIT_H
#define TESTS_POLICY_KIT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "../../controller/model/series.h"
#include "autoscale/policy.h"

#define KIT_NOW (1000 * AS_SECOND)

struct kit {
    const struct as_policy_type *type;
    struct as_settings *settings;
    void *state;
    struct as_series *series;
    const struct as_series *inputs[4]; /* the first is `series`; a test adds its own and counts them */
    struct as_view view;
};

/* A failed parse or init ends the test and shows the message. */
static inline struct kit *kit_new(const struct as_policy_type *type, const char *text)
{
    struct kit *k = calloc(1, sizeof *k);
    struct as_error err = { 0 };
    assert_non_null(k);
    k->type = type;
    if (as_settings_parse(type->options, text, &k->settings, &err))
        fail_msg("parse: %s", err.msg);
    k->state = calloc(1, type->state_size);
    assert_non_null(k->state);
    if (type->init(k->state, k->settings, &err))
        fail_msg("init: %s", err.msg);
    k->series = series_new("lb.web.load", 100, 10 * AS_SECOND);
    assert_non_null(k->series);
    k->inputs[0] = k->series;
    k->view = (struct as_view){ .now = KIT_NOW, .interval = 2000, .min = 1, .max = 100, .inputs = k->inputs,
                                .input_count = 1 };
    return k;
}

static inline void kit_free(struct kit *k)
{
    if (k->type->fini)
        k->type->fini(k->state);
    series_free(k->series);
    as_settings_free(k->settings);
    free(k->state);
    free(k);
}

static inline void kit_size(struct kit *k, int serving, int pending)
{
    k->view.serving = serving;
    k->view.pending = pending;
    k->view.current = serving + pending;
}

/* One look at the view as it is. */
static inline struct as_proposal kit_look(struct kit *k)
{
    struct as_proposal p = { 0 };
    k->type->decide(k->state, &k->view, &p);
    assert_true(p.reason[0] != '\0');
    assert_true(memchr(p.reason, '\0', sizeof p.reason) != NULL);
    return p;
}

/* Two seconds later: a fresh sample, the size, the proposal. */
static inline struct as_proposal kit_tick(struct kit *k, double value, int serving, int pending)
{
    k->view.now += 2000;
    series_push(k->series, k->view.now, value, false);
    kit_size(k, serving, pending);
    return kit_look(k);
}

/* The count it wants, or -1 when it wants none. */
static inline int kit_want(struct kit *k, double value, int serving, int pending)
{
    struct as_proposal p = kit_tick(k, value, serving, pending);
    return p.kind == AS_WANT ? p.count : -1;
}

/* The text is refused, by the parser or by init, with a message that holds `part`. */
static inline void kit_refused(const struct as_policy_type *type, const char *text, const char *part)
{
    struct as_settings *settings = NULL;
    struct as_error err = { 0 };
    int rc = as_settings_parse(type->options, text, &settings, &err);
    if (rc == AS_OK) {
        void *state = calloc(1, type->state_size);
        assert_non_null(state);
        rc = type->init(state, settings, &err);
        if (rc == AS_OK && type->fini)
            type->fini(state);
        free(state);
        as_settings_free(settings);
    }
    assert_int_equal(rc, AS_EINVAL);
    if (!strstr(err.msg, part))
        fail_msg("\"%s\" does not say \"%s\"", err.msg, part);
}

#endif
