/* Records of the process driver and the kernel's stat line: what is whole is read, everything else is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "../../drivers/compute/process.h"

#define WHOLE                                                                                                \
    "{\"version\":1,\"controller\":\"shop\",\"group\":\"web\",\"id\":\"web-3fa9c1d2\",\"revision\":\"r1\","  \
    "\"boot\":\"362dde6c-2b04-443c-b267-f6281165218b\",\"pid\":4242,\"start\":98765,"                        \
    "\"created\":1790000000123,\"address\":\"127.0.0.1\",\"port\":20001,\"ended\":\"\"}"

static const struct process_record whole = {
    .controller = "shop",
    .group = "web",
    .id = "web-3fa9c1d2",
    .revision = "r1",
    .boot = "362dde6c-2b04-443c-b267-f6281165218b",
    .pid = 4242,
    .start = 98765,
    .created_wall = 1790000000123,
    .address = "127.0.0.1",
    .port = 20001,
};

static int parse(const char *text, struct process_record *r)
{
    struct as_error err;
    return process_record_parse(text, strlen(text), r, &err);
}

static void check_refused(const char *text)
{
    struct process_record r, before;
    memset(&r, 0x5a, sizeof r);
    before = r;
    if (parse(text, &r) != AS_EPROTO)
        fail_msg("accepted: %s", text);
    assert_memory_equal(&r, &before, sizeof r);
}

/* WHOLE with the first `from` replaced by `to` */
static void check_refused_with(const char *from, const char *to)
{
    char text[PROCESS_RECORD_MAX * 2];
    const char *at = strstr(WHOLE, from);
    assert_non_null(at);
    snprintf(text, sizeof text, "%.*s%s%s", (int)(at - WHOLE), WHOLE, to, at + strlen(from));
    check_refused(text);
}

static void a_whole_record_is_read(void **state)
{
    (void)state;
    struct process_record r = { 0 };
    assert_int_equal(parse(WHOLE, &r), AS_OK);
    assert_string_equal(r.controller, "shop");
    assert_string_equal(r.group, "web");
    assert_string_equal(r.id, "web-3fa9c1d2");
    assert_string_equal(r.boot, whole.boot);
    assert_string_equal(r.address, "127.0.0.1");
    assert_true(r.pid == 4242 && r.start == 98765 && r.created_wall == 1790000000123 && r.port == 20001);
}

static void what_is_printed_is_read_again(void **state)
{
    (void)state;
    struct process_record in = whole, out = { 0 };
    in.start = INT64_C(999999999999999);
    in.pid = INT32_MAX;
    snprintf(in.ended, sizeof in.ended, "killed by signal 9");
    snprintf(in.controller, sizeof in.controller, "a \"quoted\" \\ name");
    char *text = process_record_print(&in);
    assert_non_null(text);
    assert_int_equal(parse(text, &out), AS_OK);
    assert_true(out.start == in.start && out.pid == in.pid && out.created_wall == in.created_wall);
    assert_string_equal(out.controller, in.controller);
    assert_string_equal(out.ended, in.ended);
    free(text);
}

static void a_record_cut_anywhere_is_refused(void **state)
{
    (void)state;
    for (size_t n = 0; n < strlen(WHOLE); n++) {
        char text[sizeof WHOLE];
        snprintf(text, sizeof text, "%.*s", (int)n, WHOLE);
        check_refused(text);
    }
}

static void missing_doubled_and_unknown_members_are_refused(void **state)
{
    (void)state;
    check_refused_with("\"pid\":4242,", "");
    check_refused_with("\"pid\":4242,", "\"pid\":4242,\"pid\":4243,");
    check_refused_with("\"pid\":4242,", "\"pid\":4242,\"more\":1,");
    check_refused_with("\"pid\"", "\"PID\"");
    check_refused_with("\"ended\":\"\"", "\"ended\":null");
}

static void numbers_out_of_range_are_refused(void **state)
{
    (void)state;
    static const char *const pids[] = { "1", "0", "-1", "-4242", "2147483648", "42.5", "\"4242\"", "1e999" };
    for (size_t i = 0; i < sizeof pids / sizeof *pids; i++)
        check_refused_with("4242", pids[i]);
    check_refused_with("98765", "0");
    check_refused_with("98765", "-1");
    check_refused_with("98765", "1000000000000000");
    check_refused_with("20001", "0");
    check_refused_with("20001", "65536");
    check_refused_with("\"version\":1", "\"version\":2");
}

static void texts_that_do_not_fit_are_refused(void **state)
{
    (void)state;
    check_refused_with("web-3fa9c1d2", "../../etc/passwd");
    check_refused_with("web-3fa9c1d2", "");
    check_refused_with("web-3fa9c1d2", ".web");
    check_refused_with("\"shop\"", "\"\"");
    check_refused_with("\"shop\"", "\"a\\nb\"");
    check_refused_with("127.0.0.1", "1234567890123456789012345678901234567890123456789012345678901234567890");
    check_refused_with("\"r1\"", "\"12345678901234567890\"");
    check_refused("[" WHOLE "]");
    check_refused(WHOLE "x");
    check_refused("\xef\xbb\xbf" WHOLE);
}

static void a_record_longer_than_the_cap_is_refused(void **state)
{
    (void)state;
    char text[PROCESS_RECORD_MAX + sizeof WHOLE];
    memset(text, ' ', sizeof text);
    memcpy(text + PROCESS_RECORD_MAX, WHOLE, sizeof WHOLE);
    check_refused(text);
}

static void the_stat_line_is_read_whatever_the_name(void **state)
{
    (void)state;
    static const char *const names[] = { "(sh)", "(a b)", "() S 1 1)", "(x) Z 9 9 9 9)", "()" };
    char text[256];
    struct process_stat st;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        snprintf(
            text, sizeof text,
            "77 %s T 1 70 71 0 -1 4194560 1 0 0 0 5 6 0 0 20 0 1 0 98765 2000 300 18446744073709551615 1\n",
            names[i]);
        assert_true(process_stat_parse(text, &st));
        assert_true(st.state == 'T' && st.group == 70 && st.session == 71 && st.threads == 1 &&
                    st.start == 98765);
    }
}

static void a_broken_stat_line_is_refused(void **state)
{
    (void)state;
    struct process_stat st;
    assert_false(process_stat_parse("", &st));
    assert_false(process_stat_parse("77 (sh", &st));
    assert_false(process_stat_parse("77 (sh)", &st));
    assert_false(process_stat_parse("77 (sh) ", &st));
    assert_false(process_stat_parse("77 (sh) S 1 2 3", &st));
    assert_false(process_stat_parse("77 (sh) S 1 x 3 0 -1 4 1 0 0 0 5 6 0 0 20 0 1 0 98765 2000", &st));
    assert_false(process_stat_parse("77 (sh) S 1 2 3 0 -1 4 1 0 0 0 5 6 0 0 20 0 1 0 98765x", &st));
    assert_false(
        process_stat_parse("77 (sh) S 1 2 3 0 -1 4 1 0 0 0 5 6 0 0 20 0 1 0 99999999999999999999 1", &st));
}

static void ids_are_names_of_files(void **state)
{
    (void)state;
    assert_true(process_id_ok("web-3fa9c1d2"));
    assert_true(process_id_ok("a.b_c"));
    assert_false(process_id_ok(""));
    assert_false(process_id_ok("."));
    assert_false(process_id_ok("../x"));
    assert_false(process_id_ok("a/b"));
    assert_false(process_id_ok("-rf"));
    assert_false(process_id_ok("a b"));
}

static void placeholders_are_filled_in(void **state)
{
    (void)state;
    static const struct {
        const char *in, *out;
    } cases[] = {
        { "{address}:{port}", "127.0.0.1:20001" },
        { "{id}/{group}", "web-3fa9c1d2/web" },
        { "{{port}", "{port}" },
        { "{\"a\":{port}}", "{\"a\":20001}" },
        { "plain {} { }", "plain {} { }" },
        { "{{{{", "{{" },
        { "{", "{" },
        { "", "" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char *text = process_expand(cases[i].in, &whole);
        assert_non_null(text);
        assert_string_equal(text, cases[i].out);
        free(text);
    }
}

static void unknown_placeholders_are_found(void **state)
{
    (void)state;
    const char *at = "";
    assert_int_equal(process_unknown("x {prot} {port}", &at), 6);
    assert_memory_equal(at, "{prot}", 6);
    assert_int_equal(process_unknown("{port} {id} {{prot} {1} {} {a b} {", &at), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_whole_record_is_read),
        cmocka_unit_test(what_is_printed_is_read_again),
        cmocka_unit_test(a_record_cut_anywhere_is_refused),
        cmocka_unit_test(missing_doubled_and_unknown_members_are_refused),
        cmocka_unit_test(numbers_out_of_range_are_refused),
        cmocka_unit_test(texts_that_do_not_fit_are_refused),
        cmocka_unit_test(a_record_longer_than_the_cap_is_refused),
        cmocka_unit_test(the_stat_line_is_read_whatever_the_name),
        cmocka_unit_test(a_broken_stat_line_is_refused),
        cmocka_unit_test(ids_are_names_of_files),
        cmocka_unit_test(placeholders_are_filled_in),
        cmocka_unit_test(unknown_placeholders_are_found),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
