/* What the Docker driver writes and how it reads a daemon's answers: recorded ones, mangled ones, hostile
 * ones. No daemon is needed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../../drivers/compute/docker_json.h"
#include "../../drivers/wire/docker_api.h"
#include "../../drivers/wire/json.h"

extern const struct as_compute_driver as_compute_docker;

static const struct as_owner owner = { .controller = "shop", .group = "web" };

/* recorded from Docker 20.10, GET /v1.41/containers/json?all=1, shortened */
static const char list_text[] =
    "[{\"Id\":\"e36a6cc8b2b2838a4cb3533acd843cc903ba8c780634d2809c01c8e27b6f1042\",\"Names\":[\"/"
    "web-3fa9c1d2\"],"
    "\"Image\":\"shop:1\",\"Command\":\"httpd -f\",\"Created\":1795420334,\"Ports\":[{\"IP\":\"127.0.0.5\","
    "\"PrivatePort\":8080,\"PublicPort\":32768,\"Type\":\"tcp\"}],\"Labels\":{\"autoscale.controller\":"
    "\"shop\","
    "\"autoscale.group\":\"web\",\"autoscale.instance\":\"web-3fa9c1d2\",\"autoscale.revision\":\"r7\"},"
    "\"State\":\"running\",\"Status\":\"Up Less than a "
    "second\",\"NetworkSettings\":{\"Networks\":{\"webnet\":"
    "{\"IPAMConfig\":null,\"IPAddress\":\"172.17.0.2\",\"IPPrefixLen\":16}}}},"
    "{\"Id\":\"86259a338232434993b76f29fbbf243633bc53e1163f967a2f6a1c12638dc7a9\",\"Names\":[\"/"
    "web-00000002\"],"
    "\"Created\":1795420335,\"Ports\":[{\"IP\":\"127.0.0.5\",\"PrivatePort\":8080,\"PublicPort\":32769,"
    "\"Type\":\"tcp\"}],\"Labels\":{\"autoscale.controller\":\"shop\",\"autoscale.group\":\"web\","
    "\"autoscale.instance\":\"web-00000002\"},\"State\":\"exited\",\"Status\":\"Exited (137) 2 hours ago\","
    "\"NetworkSettings\":{\"Networks\":{\"webnet\":{\"IPAddress\":\"\"}}}}]";

static const char inspect_text[] =
    "{\"Id\":\"e36a6cc8b2b2838a4cb3533acd843cc903ba8c780634d2809c01c8e27b6f1042\","
    "\"Created\":\"2026-11-23T07:52:14.48313342Z\",\"State\":{\"Status\":\"running\",\"OOMKilled\":false,"
    "\"ExitCode\":0,\"Error\":\"\"},\"Name\":\"/web-3fa9c1d2\",\"Config\":{\"Labels\":{"
    "\"autoscale.controller\":\"shop\",\"autoscale.group\":\"web\",\"autoscale.instance\":\"web-3fa9c1d2\","
    "\"autoscale.revision\":\"r7\"}},\"NetworkSettings\":{\"Ports\":{\"8080/tcp\":[{\"HostIp\":\"127.0.0.5\","
    "\"HostPort\":\"32768\"}]},\"IPAddress\":\"\",\"Networks\":{\"webnet\":{\"IPAddress\":\"172.17.0.2\"}}}}";

static struct docker_shape published(void)
{
    return (
        struct docker_shape){ .owner = &owner, .publish = "127.0.0.5", .network = "webnet", .port = 8080 };
}

/* `text` with the first `from` replaced; the caller frees. */
static char *with(const char *text, const char *from, const char *to)
{
    const char *at = strstr(text, from);
    char *out = NULL;
    assert_non_null(at);
    assert_true(asprintf(&out, "%.*s%s%s", (int)(at - text), text, to, at + strlen(from)) > 0);
    return out;
}

static struct as_instances read_list(const struct docker_shape *shape, const char *text, int rc)
{
    struct as_instances out = { 0 };
    struct as_error err;
    assert_int_equal(docker_read_list(shape, text, strlen(text), &out, &err), rc);
    return out;
}

/* --- lists -------------------------------------------------------------------------------------------- */

static void recorded_list_becomes_instances(void **state)
{
    (void)state;
    struct docker_shape shape = published();
    struct as_instances out = read_list(&shape, list_text, AS_OK);
    assert_int_equal(out.count, 2);
    assert_int_equal(out.room, -1);
    assert_string_equal(out.items[0].id, "web-3fa9c1d2");
    assert_string_equal(out.items[0].revision, "r7");
    assert_int_equal(out.items[0].state, AS_RUN_RUNNING);
    assert_string_equal(out.items[0].address, "127.0.0.5");
    assert_int_equal(out.items[0].port, 32768);
    assert_true(out.items[0].created_wall == 1795420334000);
    assert_int_equal(out.items[1].state, AS_RUN_STOPPED);
    assert_string_equal(out.items[1].detail, "Exited (137) 2 hours ago");
    assert_string_equal(out.items[1].address, "");
    assert_string_equal(out.items[1].revision, "");
    as_instances_fini(&out);
}

static void address_follows_advertise_and_network(void **state)
{
    (void)state;
    struct docker_shape shape = published();
    shape.advertise = "10.0.0.9";
    struct as_instances out = read_list(&shape, list_text, AS_OK);
    assert_string_equal(out.items[0].address, "10.0.0.9");
    assert_int_equal(out.items[0].port, 32768);
    as_instances_fini(&out);
    shape = (struct docker_shape){ .owner = &owner, .network = "webnet", .port = 8080 };
    out = read_list(&shape, list_text, AS_OK);
    assert_string_equal(out.items[0].address, "172.17.0.2");
    assert_int_equal(out.items[0].port, 8080);
    as_instances_fini(&out);
    shape.network = "another";
    out = read_list(&shape, list_text, AS_OK);
    assert_string_equal(out.items[0].address, "");
    as_instances_fini(&out);
}

static void object_without_our_whole_mark_under_its_name_is_not_listed(void **state)
{
    (void)state;
    static const char *const changes[][2] = {
        { "\"autoscale.controller\":\"shop\"", "\"autoscale.controller\":\"other\"" },
        { "\"autoscale.controller\":\"shop\"", "\"Autoscale.Controller\":\"shop\"" },
        { "\"autoscale.group\":\"web\"", "\"autoscale.group\":\"we\"" },
        { "\"autoscale.group\":\"web\"", "\"autoscale.group\":7" },
        { "\"autoscale.instance\":\"web-3fa9c1d2\"", "\"x\":\"web-3fa9c1d2\"" },
        { "[\"/web-3fa9c1d2\"]", "[\"/renamed\"]" },
        { "[\"/web-3fa9c1d2\"]", "null" },
        { "\"Labels\":{", "\"Labels\":null,\"was\":{" },
    };
    struct docker_shape shape = published();
    for (size_t i = 0; i < sizeof changes / sizeof *changes; i++) {
        char *text = with(list_text, changes[i][0], changes[i][1]);
        struct as_instances out = read_list(&shape, text, AS_OK);
        assert_int_equal(out.count, 1);
        assert_string_equal(out.items[0].id, "web-00000002");
        as_instances_fini(&out);
        free(text);
    }
}

static void nonsense_ports_and_addresses_stay_unknown(void **state)
{
    (void)state;
    static const char *const ports[] = { "0", "70000", "-1", "1e999", "32768.5", "\"32768\"", "null" };
    struct docker_shape shape = published(), inner = published();
    inner.publish = NULL;
    for (size_t i = 0; i < sizeof ports / sizeof *ports; i++) {
        char to[64];
        snprintf(to, sizeof to, "\"PublicPort\":%s", ports[i]);
        char *text = with(list_text, "\"PublicPort\":32768", to);
        struct as_instances out = read_list(&shape, text, AS_OK);
        assert_int_equal(out.items[0].port, 0);
        assert_string_equal(out.items[0].address, "");
        as_instances_fini(&out);
        free(text);
    }
    char *text = with(list_text, "172.17.0.2", "evil.example.org; add server");
    struct as_instances out = read_list(&inner, text, AS_OK);
    assert_string_equal(out.items[0].address, "");
    as_instances_fini(&out);
    free(text);
}

static void every_state_word_maps_to_a_run_state(void **state)
{
    (void)state;
    static const struct {
        const char *word;
        enum as_run_state is;
    } words[] = { { "created", AS_RUN_CREATED },    { "running", AS_RUN_RUNNING },
                  { "paused", AS_RUN_PARKED },      { "exited", AS_RUN_STOPPED },
                  { "dead", AS_RUN_STOPPED },       { "removing", AS_RUN_STOPPED },
                  { "restarting", AS_RUN_STOPPED }, { "thinking", AS_RUN_RUNNING } };
    struct docker_shape shape = published();
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        char to[64];
        snprintf(to, sizeof to, "\"State\":\"%s\"", words[i].word);
        char *text = with(list_text, "\"State\":\"running\"", to);
        struct as_instances out = read_list(&shape, text, AS_OK);
        assert_int_equal(out.items[0].state, words[i].is);
        as_instances_fini(&out);
        free(text);
    }
}

static void cut_or_mangled_list_is_a_protocol_error_and_changes_nothing(void **state)
{
    (void)state;
    static const char *const bad[] = { "",
                                       "null",
                                       "{}",
                                       "[1]",
                                       "[{}]",
                                       "[null]",
                                       "[{\"State\":1}]",
                                       "[] x",
                                       "[][]",
                                       "\xef\xbb\xbf[]",
                                       "{\"message\":\"no\"}",
                                       "[\"a\"]" };
    struct docker_shape shape = published();
    struct as_instances out = read_list(&shape, list_text, AS_OK);
    struct as_error err;
    for (size_t n = 0; n < sizeof list_text - 1; n++) {
        char *cut = strndup(list_text, n);
        assert_int_equal(docker_read_list(&shape, cut, n, &out, &err), AS_EPROTO);
        free(cut);
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(docker_read_list(&shape, bad[i], strlen(bad[i]), &out, &err), AS_EPROTO);
    assert_int_equal(out.count, 2);
    assert_string_equal(out.items[0].id, "web-3fa9c1d2");
    as_instances_fini(&out);
}

/* --- one container ------------------------------------------------------------------------------------ */

static struct docker_container read_one(const char *text)
{
    struct docker_shape shape = published();
    struct docker_container c = { 0 };
    struct as_error err;
    if (docker_read_container(&shape, "web-3fa9c1d2", text, strlen(text), &c, &err) != AS_OK)
        fail_msg("%s", err.msg);
    return c;
}

static void recorded_inspection_becomes_a_container(void **state)
{
    (void)state;
    struct docker_container c = read_one(inspect_text);
    assert_true(c.ours);
    assert_false(c.going);
    assert_int_equal(strlen(c.ref), 64);
    assert_int_equal(c.instance.state, AS_RUN_RUNNING);
    assert_string_equal(c.instance.address, "127.0.0.5");
    assert_int_equal(c.instance.port, 32768);
    assert_true(c.instance.created_wall == 1795420334483);
}

static void inspection_of_another_name_or_owner_is_not_ours(void **state)
{
    (void)state;
    static const char *const changes[][2] = { { "\"/web-3fa9c1d2\"", "\"/web-3fa9c1d3\"" },
                                              { "\"autoscale.controller\":\"shop\"", "\"a\":\"b\"" },
                                              { "\"autoscale.instance\":\"web-3fa9c1d2\"",
                                                "\"autoscale.instance\":\"web-00000001\"" } };
    for (size_t i = 0; i < 3; i++) {
        char *text = with(inspect_text, changes[i][0], changes[i][1]);
        assert_false(read_one(text).ours);
        free(text);
    }
}

static void ended_container_says_how(void **state)
{
    (void)state;
    char *text = with(inspect_text, "\"running\",\"OOMKilled\":false,\"ExitCode\":0",
                      "\"exited\",\"OOMKilled\":true,\"ExitCode\":137");
    struct docker_container c = read_one(text);
    assert_int_equal(c.instance.state, AS_RUN_STOPPED);
    assert_int_equal(c.exit_code, 137);
    assert_string_equal(c.instance.detail, "exited (137), killed for lack of memory");
    assert_string_equal(c.instance.address, "");
    free(text);
}

static void inspection_without_id_or_state_is_a_protocol_error(void **state)
{
    (void)state;
    static const char *const changes[][2] = { { "\"Status\":\"running\"", "\"Status\":1" },
                                              { "\"Id\":\"e36a", "\"Id\":\"../../" },
                                              { "\"Id\":", "\"id\":" } };
    struct docker_shape shape = published();
    struct docker_container c = { 0 };
    struct as_error err;
    for (size_t i = 0; i < 3; i++) {
        char *text = with(inspect_text, changes[i][0], changes[i][1]);
        assert_int_equal(docker_read_container(&shape, "web-3fa9c1d2", text, strlen(text), &c, &err),
                         AS_EPROTO);
        free(text);
    }
}

/* --- JSON and pulls --------------------------------------------------------------------------------------- */

static void json_is_read_strictly(void **state)
{
    (void)state;
    char deep[2 * (JSON_DEPTH_MAX + 1) + 1];
    memset(deep, '[', JSON_DEPTH_MAX + 1);
    memset(deep + JSON_DEPTH_MAX + 1, ']', JSON_DEPTH_MAX + 1);
    deep[sizeof deep - 1] = '\0';
    assert_null(json_parse(deep, sizeof deep - 1));
    deep[2 * JSON_DEPTH_MAX + 1] = '\0'; /* one bracket less on either side */
    cJSON *ok = json_parse(deep + 1, 2 * JSON_DEPTH_MAX);
    assert_non_null(ok);
    cJSON_Delete(ok);
    assert_null(json_parse("{\"a\":1} trailing", 16));
    assert_null(json_parse("{}\0", 3));
    assert_null(json_parse("]", 1));
    assert_null(json_parse("\"\\", 2));
    size_t wide = JSON_NODES_MAX * 2 + 3;
    char *many = malloc(wide + 1);
    assert_non_null(many);
    for (size_t i = 0; i < wide; i++)
        many[i] = i % 2 ? '1' : ',';
    many[0] = '[';
    many[wide - 1] = ']';
    many[wide] = '\0';
    assert_null(json_parse(many, wide));
    free(many);
    ok = json_parse(" {\"A\":1,\"a\":2} \n", 16);
    int64_t n = 0;
    assert_true(json_int(ok, "a", 0, 9, &n));
    assert_int_equal(n, 2);
    assert_false(json_int(ok, "a", 3, 9, &n));
    assert_null(json_get(NULL, "a"));
    cJSON_Delete(ok);
}

static void pull_stream_tells_its_error(void **state)
{
    (void)state;
    static const char good[] = "{\"status\":\"Pulling error pages\"}\r\n{\"status\":\"done\"}\r\n";
    static const char bad[] =
        "{\"status\":\"Pulling\"}\r\n{\"errorDetail\":{\"message\":\"manifest unknown\"},"
        "\"error\":\"manifest unknown\"}\r\n";
    char why[32] = "";
    assert_false(docker_pull_failed(good, sizeof good - 1, why, sizeof why));
    assert_true(docker_pull_failed(bad, sizeof bad - 1, why, sizeof why));
    assert_string_equal(why, "manifest unknown");
}

static void untagged_image_is_pulled_as_latest_only(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        { "shop", "/images/create?fromImage=shop&tag=latest" },
        { "shop:1", "/images/create?fromImage=shop%3A1" },
        { "reg:5000/shop", "/images/create?fromImage=reg%3A5000%2Fshop&tag=latest" },
        { "shop@sha256:ab", "/images/create?fromImage=shop%40sha256%3Aab" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char *path = docker_pull_path(cases[i][0]);
        assert_string_equal(path, cases[i][1]);
        free(path);
    }
}

/* --- requests ------------------------------------------------------------------------------------------------ */

static struct as_settings *settings(const char *text)
{
    struct as_settings *s = NULL;
    struct as_error err;
    if (as_settings_parse(as_compute_docker.options, text, &s, &err) != AS_OK)
        fail_msg("%s", err.msg);
    return s;
}

static void create_body_holds_the_mark_and_the_limits(void **state)
{
    (void)state;
    struct as_settings *s = settings(
        "image=\"shop:1\"; port=8080; command=[\"run\",\"-x\"]; env={ A=\"1=2\"; }; binds=[\"/srv:/srv:ro\"];"
        "memory=\"64MiB\"; cpus=12.5; network=\"webnet\"; publish=\"127.0.0.5\"; stop_timeout=\"1500ms\";"
        "labels={ team=\"x\"; };");
    struct docker_shape shape = published();
    shape.settings = s;
    char *body = docker_create_body(&shape, &(struct as_launch){ .id = "web-1", .revision = "r7" });
    assert_string_equal(
        body,
        "{\"Image\":\"shop:1\",\"StopTimeout\":2,\"ExposedPorts\":{\"8080/tcp\":{}},\"Cmd\":[\"run\",\"-x\"],"
        "\"Env\":[\"A=1=2\"],\"Labels\":{\"team\":\"x\",\"autoscale.controller\":\"shop\",\"autoscale."
        "group\":\"web\","
        "\"autoscale.instance\":\"web-1\",\"autoscale.revision\":\"r7\"},\"HostConfig\":{\"RestartPolicy\":{"
        "\"Name\":"
        "\"no\"},\"Init\":true,\"NetworkMode\":\"webnet\",\"Memory\":67108864,\"MemorySwap\":67108864,"
        "\"NanoCpus\":12500000000,\"Binds\":[\"/srv:/srv:ro\"],\"PortBindings\":{\"8080/tcp\":[{\"HostIp\":"
        "\"127.0.0.5\",\"HostPort\":\"\"}]}}}");
    free(body);
    as_settings_free(s);
}

static void create_body_leaves_out_what_is_not_set(void **state)
{
    (void)state;
    struct as_settings *s = settings("image=\"shop:1\"; port=80;");
    struct docker_shape shape = { .owner = &owner, .settings = s, .port = 80 };
    char *body = docker_create_body(&shape, &(struct as_launch){ .id = "web-1", .revision = "r7" });
    static const char *const absent[] = { "Cmd",      "Env",         "Binds",       "Memory",
                                          "NanoCpus", "NetworkMode", "PortBindings" };
    for (size_t i = 0; i < sizeof absent / sizeof *absent; i++)
        assert_null(strstr(body, absent[i]));
    free(body);
    as_settings_free(s);
}

static void list_asks_for_controller_and_group(void **state)
{
    (void)state;
    struct docker_shape shape = published();
    char *path = docker_list_path(&shape);
    assert_string_equal(
        path, "/containers/json?all=1&filters=%7B%22label%22%3A%5B%22autoscale.controller%3Dshop%22%2C"
              "%22autoscale.group%3Dweb%22%5D%7D");
    free(path);
}

static void network_body_is_marked_and_its_bridge_differs_by_host(void **state)
{
    (void)state;
    struct docker_shape shape = published();
    char *a = docker_network_body(&shape, "unix:///a"), *b = docker_network_body(&shape, "unix:///b");
    assert_non_null(strstr(a, "\"Labels\":{\"autoscale.controller\":\"shop\"}"));
    cJSON *json = json_parse(a, strlen(a));
    const char *bridge = json_str(json_get(json, "Options"), "com.docker.network.bridge.name");
    assert_non_null(bridge);
    assert_true(strlen(bridge) <= 15); /* what Linux takes as the name of an interface */
    assert_null(strstr(b, bridge));
    cJSON_Delete(json);
    free(a);
    free(b);
}

/* --- the wire's errors ---------------------------------------------------------------------------------------- */

static void refusals_get_the_class_that_fits(void **state)
{
    (void)state;
    static const struct {
        long status;
        const char *text;
        enum as_rc rc;
    } cases[] = {
        { 400, "Minimum memory limit allowed is 6MB", AS_EINVAL },
        { 400, "Range of CPUs is from 0.01 to 2.00, as there are only 2 CPUs available", AS_EINVAL },
        { 401, "unauthorized", AS_EAUTH },
        { 404, "No such image: nope:1", AS_ENOENT },
        { 409, "Conflict. The container name \"/a\" is already in use", AS_EEXIST },
        { 500,
          "driver failed programming external connectivity on endpoint b: Bind for 127.0.0.5:32768 failed: "
          "port is "
          "already allocated",
          AS_EFULL },
        { 500, "mkdir /var/lib/docker/overlay2/x: no space left on device", AS_EFULL },
        { 500, "fork/exec /proc/self/exe: cannot allocate memory", AS_EFULL },
        { 500, "no available IPv4 addresses on this network's address pools: a (b)", AS_EFULL },
        { 500, "listen tcp4 10.99.99.99:32777: bind: cannot assign requested address", AS_EINVAL },
        { 500, "invalid mode: zz", AS_EINVAL },
        { 500, "exec: \"/nope\": stat /nope: no such file or directory: unknown", AS_EINVAL },
        { 500, "something else went wrong", AS_EAGAIN },
        { 500, "context deadline exceeded", AS_EUNKNOWN },
        { 503, "", AS_EAGAIN },
        { 502, "Bad Gateway", AS_EUNKNOWN },
        { 302, "", AS_EPROTO },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        if (docker_class(cases[i].status, cases[i].text) != cases[i].rc)
            fail_msg("%ld %s: %s", cases[i].status, cases[i].text,
                     as_rc_name(docker_class(cases[i].status, cases[i].text)));
}

static void message_is_one_printable_line(void **state)
{
    (void)state;
    static char bodies[][80] = { "{\"message\":\"No such image: x\"}\n", "client version 1.5 is too old\n",
                                 "{\"message\":\"a\\n\\tb\\u0007c. \"}", "{\"msg\":1}", "" };
    static const char *const texts[] = { "No such image: x", "client version 1.5 is too old", "a b c", "",
                                         "" };
    char out[DOCKER_MESSAGE_MAX];
    for (size_t i = 0; i < 5; i++) {
        struct http_answer a = { .status = 400, .body = bodies[i], .size = strlen(bodies[i]) };
        docker_message(&a, out);
        assert_string_equal(out, texts[i]);
    }
}

static void versions_are_read_and_refusals_recognised(void **state)
{
    (void)state;
    int least = -1;
    assert_int_equal(docker_minor("1.41"), 41);
    assert_int_equal(docker_minor("1.44, please"), 44);
    assert_int_equal(docker_minor("2.0"), 0);
    assert_int_equal(docker_minor("1."), 0);
    assert_int_equal(docker_minor("1.x"), 0);
    assert_int_equal(docker_minor("1.99999999999"), 0);
    assert_true(docker_version_refused(
        "client version 1.50 is too new. Maximum supported API version is 1.41", &least));
    assert_int_equal(least, 0);
    assert_true(docker_version_refused(
        "client version 1.41 is too old. Minimum supported API version is 1.44, please "
        "upgrade your client to a newer version",
        &least));
    assert_int_equal(least, 44);
    assert_false(docker_version_refused("invalid reference format", &least));
}

static void host_addresses_are_checked_offline(void **state)
{
    (void)state;
    static const char *const good[] = { "unix:///var/run/docker.sock", "tcp://10.0.0.1:2375",
                                        "http://docker1:2375", "https://docker1.lan:2376",
                                        "tcp://[fd00::1]:2375" };
    static const char *const bad[] = { "",
                                       "/var/run/docker.sock",
                                       "unix://docker.sock",
                                       "tcp://host",
                                       "tcp://:2375",
                                       "tcp://host:0",
                                       "tcp://host:65536",
                                       "tcp://host:+1",
                                       "tcp://h:1/v1",
                                       "tcp://u@h:1",
                                       "tcp://fd00::1:2375",
                                       "ssh://host:22",
                                       "https://host:2376x" };
    struct docker_tls none = { 0 }, tls = { .ca = "/ca.pem" };
    struct docker_host h = { 0 };
    struct as_error err;
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        if (docker_host_open(&h, good[i], &none, &err) != AS_OK)
            fail_msg("%s: %s", good[i], err.msg);
        docker_host_close(&h);
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_int_equal(docker_host_open(&h, bad[i], &none, &err), AS_EINVAL);
        docker_host_close(&h);
    }
    assert_int_equal(docker_host_open(&h, "tcp://host:2376", &tls, &err), AS_OK);
    assert_string_equal(h.peer.base, "https://host:2376");
    docker_host_close(&h);
    assert_int_equal(docker_host_open(&h, "http://host:2376", &tls, &err), AS_EINVAL);
    docker_host_close(&h);
}

static void contradictions_in_the_settings_are_refused_with_the_option(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        { "publish=\"0.0.0.0\";", "publish: " },
        { "publish=\"localhost\";", "publish: " },
        { "publish=\"::\";", "publish: " },
        { "publish=\"fd00:0::1\";", "publish: " }, /* Docker would call it fd00::1 */
        { "publish=\"FD00::1\";", "publish: " },
        { "publish=\"fd00::1\";", NULL },
        { "advertise=\"10.0.0.1\";", "advertise: " },
        { "network=\"host\";", "network: " },
        { "network=\"a/b\";", "network: " },
        { "labels={ autoscale=\"x\"; };", NULL },
        { "binds=[\"relative\"];", "binds: " },
        { "tls_cert=\"/etc/hostname\";", "tls_cert: " },
        { "tls_ca=\"/does/not/exist\";", "tls_ca: " },
        { "publish=\"0.0.0.0\"; advertise=\"10.0.0.1\";", NULL },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char text[256];
        struct as_error err = { 0 };
        snprintf(text, sizeof text, "image=\"shop:1\"; port=80; %s", cases[i][0]);
        struct as_settings *s = settings(text);
        void *self = calloc(1, as_compute_docker.state_size);
        int rc = as_compute_docker.open(self, s, &owner, "unix:///x", &err);
        assert_int_equal(rc, cases[i][1] ? AS_EINVAL : AS_OK);
        if (cases[i][1])
            assert_int_equal(strncmp(err.msg, cases[i][1], strlen(cases[i][1])), 0);
        as_compute_docker.close(self);
        free(self);
        as_settings_free(s);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(recorded_list_becomes_instances),
        cmocka_unit_test(address_follows_advertise_and_network),
        cmocka_unit_test(object_without_our_whole_mark_under_its_name_is_not_listed),
        cmocka_unit_test(nonsense_ports_and_addresses_stay_unknown),
        cmocka_unit_test(every_state_word_maps_to_a_run_state),
        cmocka_unit_test(cut_or_mangled_list_is_a_protocol_error_and_changes_nothing),
        cmocka_unit_test(recorded_inspection_becomes_a_container),
        cmocka_unit_test(inspection_of_another_name_or_owner_is_not_ours),
        cmocka_unit_test(ended_container_says_how),
        cmocka_unit_test(inspection_without_id_or_state_is_a_protocol_error),
        cmocka_unit_test(json_is_read_strictly),
        cmocka_unit_test(pull_stream_tells_its_error),
        cmocka_unit_test(untagged_image_is_pulled_as_latest_only),
        cmocka_unit_test(create_body_holds_the_mark_and_the_limits),
        cmocka_unit_test(create_body_leaves_out_what_is_not_set),
        cmocka_unit_test(list_asks_for_controller_and_group),
        cmocka_unit_test(network_body_is_marked_and_its_bridge_differs_by_host),
        cmocka_unit_test(refusals_get_the_class_that_fits),
        cmocka_unit_test(message_is_one_printable_line),
        cmocka_unit_test(versions_are_read_and_refusals_recognised),
        cmocka_unit_test(host_addresses_are_checked_offline),
        cmocka_unit_test(contradictions_in_the_settings_are_refused_with_the_option),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
