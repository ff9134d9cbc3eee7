/* Formulas over series: precedence, windows, what is missing, and errors with their place. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "../../controller/model/formula.h"
#include "../../controller/model/series.h"

#define NOW 100000

static struct as_series *of(const char *name, double a, double b)
{
    struct as_series *s = series_new(name, 16, 30 * AS_SECOND);
    assert_non_null(s);
    series_push(s, NOW - 10000, a, false);
    series_push(s, NOW - 1000, b, false);
    return s;
}

/* x: 10 then 20; y: 4 then 8. */
static struct as_reading eval(const char *text)
{
    struct as_error err = { 0 };
    struct formula f;
    if (formula_parse(text, &f, &err) != AS_OK)
        fail_msg("%s: %s", text, err.msg);
    struct as_series *x = of("lb.web.x", 10, 20), *y = of("db.y", 4, 8);
    const struct as_series *in[FORMULA_METRICS];
    for (int k = 0; k < f.metric_count; k++)
        in[k] = strcmp(f.metrics[k], "lb.web.x") == 0 ? x : y;
    struct as_reading r = formula_eval(&f, in, NOW);
    series_free(x);
    series_free(y);
    return r;
}

#define VALUE(text, want)                                                                                    \
    do {                                                                                                     \
        struct as_reading r = eval(text);                                                                    \
        assert_int_equal(r.fresh, AS_FRESH);                                                                 \
        assert_true(r.value > (want)-1e-9 && r.value < (want) + 1e-9);                                       \
    } while (0)

static void arithmetic_has_the_usual_precedence(void **state)
{
    (void)state;
    VALUE("lb.web.x", 20);
    VALUE("lb.web.x + db.y", 28);
    VALUE("lb.web.x - db.y - 2", 10);
    VALUE("lb.web.x + 2 * db.y", 36);
    VALUE("(lb.web.x + 2) * db.y", 176);
    VALUE("-db.y + 10", 2);
    VALUE("lb.web.x / db.y / 2", 1.25);
    VALUE("2 - -3 + lb.web.x * 0", 5);
    VALUE("min(lb.web.x, db.y, 100)", 8);
    VALUE("max(lb.web.x, db.y * 3)", 24);
}

static void windows_reach_back(void **state)
{
    (void)state;
    VALUE("avg(lb.web.x, 30s)", 15);
    VALUE("avg(lb.web.x, 5s)", 20);
    VALUE("min(lb.web.x, 30s)", 10);
    VALUE("max(db.y,30s) + max(lb.web.x, db.y)", 28);
    VALUE("p50(lb.web.x, 1m)", 15);
    VALUE("rate(db.y, 1m) * 9", 4); /* 4 more in 9 s */
}

static void a_minus_inside_a_name_belongs_to_it(void **state)
{
    struct formula f;
    (void)state;
    assert_int_equal(formula_parse("lb.web-api.queue", &f, NULL), AS_OK);
    assert_true(formula_is_plain(&f));
    assert_string_equal(f.metrics[0], "lb.web-api.queue");
    assert_int_equal(formula_parse("lb.a.q - lb.b.q", &f, NULL), AS_OK);
    assert_int_equal(f.metric_count, 2);
    assert_false(formula_is_plain(&f));
    assert_int_equal(formula_parse("lb.a.q + lb.a.q", &f, NULL), AS_OK);
    assert_int_equal(f.metric_count, 1);
    assert_int_equal(formula_parse("avg(lb.a.q, 2m)", &f, NULL), AS_OK);
    assert_int_equal(f.longest, 2 * AS_MINUTE);
}

static void anything_missing_makes_the_result_missing(void **state)
{
    struct formula f;
    (void)state;
    assert_int_equal(formula_parse("a.x + b.y", &f, NULL), AS_OK);
    struct as_series *x = of("a.x", 1, 2), *never = series_new("b.y", 4, 1000),
                     *old = series_new("b.y", 4, 1000);
    series_push(old, NOW - 5000, 7, false);
    assert_int_equal(formula_eval(&f, (const struct as_series *[]){ x, never }, NOW).fresh, AS_NEVER);
    assert_int_equal(formula_eval(&f, (const struct as_series *[]){ x, old }, NOW).fresh, AS_STALE);
    series_push(old, NOW, 7, true);
    struct as_reading r = formula_eval(&f, (const struct as_series *[]){ x, old }, NOW);
    assert_int_equal(r.fresh, AS_FRESH);
    assert_true(r.partial);
    assert_int_equal(r.age, 1000);
    series_free(x);
    series_free(never);
    series_free(old);
    assert_int_equal(eval("lb.web.x / (db.y - 8)").fresh, AS_NEVER); /* a division by zero is no number */
}

static void errors_say_where(void **state)
{
    static const char *const cases[][2] = {
        { "", "character 1: the formula ends too early" },
        { "a.x +", "character 6: the formula ends too early" },
        { "a.x + * 2", "character 7: a metric, a number or '(' is expected here, not '*'" },
        { "(a.x + 2", "character 9: ')' is missing" },
        { "a.x 2", "character 5: '2' is not expected here" },
        { "avg(a.x)", "character 8: a window is missing: write (METRIC, 30s)" },
        { "avg(a.x, 30)", "character 10: '30' is no window from 1ms to 1d, like 30s" },
        { "avg(2, 30s)", "character 5: a metric is expected here" },
        { "sum(a.x, 30s)",
          "character 1: there is no function 'sum': there are avg, min, max, p1 to p99 and rate" },
        { "p0(a.x, 30s)",
          "character 1: there is no function 'p0': there are avg, min, max, p1 to p99 and rate" },
        { "1 + 2", "character 1: the formula names no metric" },
        { "5abc", "character 1: this is no number" },
    };
    (void)state;
    for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
        struct as_error err = { 0 };
        struct formula f;
        assert_int_equal(formula_parse(cases[k][0], &f, &err), AS_EINVAL);
        assert_string_equal(err.msg, cases[k][1]);
    }
}

static void size_and_depth_are_bounded(void **state)
{
    struct as_error err = { 0 };
    struct formula f;
    char text[4000];
    (void)state;
    memset(text, '(', 100);
    strcpy(text + 100, "a.x");
    assert_int_equal(formula_parse(text, &f, &err), AS_EINVAL);
    assert_non_null(strstr(err.msg, "too many parentheses"));
    memset(text, '-', 100);
    strcpy(text + 100, "a.x");
    assert_int_equal(formula_parse(text, &f, &err), AS_EINVAL);
    strcpy(text, "a.x");
    for (int k = 0; k < 100; k++)
        strcat(text, " + 1");
    assert_int_equal(formula_parse(text, &f, &err), AS_EINVAL);
    assert_non_null(strstr(err.msg, "too long"));
    strcpy(text, "a.x0");
    for (int k = 1; k < 12; k++)
        snprintf(text + strlen(text), 32, " + a.x%d", k);
    assert_int_equal(formula_parse(text, &f, &err), AS_EINVAL);
    assert_non_null(strstr(err.msg, "more than 8 different metrics"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(arithmetic_has_the_usual_precedence),
        cmocka_unit_test(windows_reach_back),
        cmocka_unit_test(a_minus_inside_a_name_belongs_to_it),
        cmocka_unit_test(anything_missing_makes_the_result_missing),
        cmocka_unit_test(errors_say_where),
        cmocka_unit_test(size_and_depth_are_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
