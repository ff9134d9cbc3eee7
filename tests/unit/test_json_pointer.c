/* JSON pointers: the examples of RFC 6901, what is no pointer, and what counts as a number. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "../../drivers/wire/json.h"

static cJSON *parse(const char *text)
{
    cJSON *root = json_parse(text, strlen(text));
    if (!root)
        fail_msg("no JSON: %s", text);
    return root;
}

static void examples_of_the_rfc_resolve(void **state)
{
    (void)state;
    static const char text[] = "{\"foo\":[\"bar\",\"baz\"],\"\":10,\"a/b\":1,\"c%d\":2,\"e^f\":3,\"g|h\":4,"
                               "\"i\\\\j\":5,\"k\\\"l\":6,\" \":7,\"m~n\":8}";
    static const struct {
        const char *pointer;
        double value;
    } cases[] = { { "/", 10 },    { "/a~1b", 1 }, { "/c%d", 2 }, { "/e^f", 3 }, { "/g|h", 4 },
                  { "/i\\j", 5 }, { "/k\"l", 6 }, { "/ ", 7 },   { "/m~0n", 8 } };
    cJSON *root = parse(text);
    assert_ptr_equal(json_pointer(root, ""), root);
    assert_true(cJSON_IsArray(json_pointer(root, "/foo")));
    assert_string_equal(json_pointer(root, "/foo/0")->valuestring, "bar");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        double value = NAN;
        if (!json_measure(json_pointer(root, cases[i].pointer), &value) ||
            !(fabs(value - cases[i].value) < 1e-9))
            fail_msg("%s gives %g", cases[i].pointer, value);
    }
    cJSON_Delete(root);
}

static void what_is_not_there_is_nothing(void **state)
{
    (void)state;
    static const char *const pointers[] = { "/a/1", "/a/-", "/a/00", "/a/0x", "/a/99999999999",
                                            "/a/",  "/b",   "/A",    "/a/0/", "/t/0",
                                            "/n/x", "/a0",  "/aa",   "//",    "/a/0/b",
                                            "a",    "/~",   "/~2",   "/a~",   "/t~01" };
    cJSON *root = parse("{\"a\":[1],\"t\":\"text\",\"n\":null}");
    for (size_t i = 0; i < sizeof pointers / sizeof *pointers; i++)
        if (json_pointer(root, pointers[i]))
            fail_msg("%s points at something", pointers[i]);
    assert_null(json_pointer(NULL, ""));
    cJSON_Delete(root);
}

static void escapes_are_checked(void **state)
{
    (void)state;
    assert_true(json_pointer_ok(""));
    assert_true(json_pointer_ok("/"));
    assert_true(json_pointer_ok("/a~0~1/0"));
    assert_false(json_pointer_ok("a"));
    assert_false(json_pointer_ok("/~"));
    assert_false(json_pointer_ok("/~2"));
    assert_false(json_pointer_ok("/a/~a"));
}

static void only_numbers_and_truth_are_measures(void **state)
{
    (void)state;
    cJSON *root = parse("[1.5,true,false,\"3\",null,{},[],1e999]");
    static const double want[] = { 1.5, 1, 0 };
    double value;
    for (int i = 0; i < 3; i++) {
        assert_true(json_measure(cJSON_GetArrayItem(root, i), &value));
        assert_true(fabs(value - want[i]) < 1e-9);
    }
    for (int i = 3; i < 9; i++)
        assert_false(json_measure(cJSON_GetArrayItem(root, i), &value));
    assert_string_equal(json_kind(cJSON_GetArrayItem(root, 3)), "text");
    assert_string_equal(json_kind(cJSON_GetArrayItem(root, 4)), "null");
    assert_string_equal(json_kind(cJSON_GetArrayItem(root, 7)), "a number out of range");
    assert_string_equal(json_kind(NULL), "nothing");
    cJSON_Delete(root);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(examples_of_the_rfc_resolve),
        cmocka_unit_test(what_is_not_there_is_nothing),
        cmocka_unit_test(escapes_are_checked),
        cmocka_unit_test(only_numbers_and_truth_are_measures),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
