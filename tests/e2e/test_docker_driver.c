/* The Docker compute driver against two real, private Docker daemons: one behind a unix socket, one behind
 * TLS. Everything runs in a network namespace of this process, so that no bridge or port of the machine is
 * touched. Needs root and dockerd; every test is skipped otherwise. Run from the top of the repository. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../../drivers/wire/http.h"
#include "../../drivers/wire/json.h"
#include "autoscale/compute.h"
#include "server_kit.h"

extern const struct as_compute_driver as_compute_docker;

#define DAEMON "bash tests/e2e/lib/dockerd.sh "
#define HTTPD  "image=\"shop:1\"; port=8080; command=[\"httpd\",\"-f\",\"-h\",\"/www\",\"-p\",\"8080\"];"
#define LOCAL  HTTPD "publish=\"127.0.0.5\"; network=\"shopnet\"; stop_timeout=\"2s\";"
#define TLS_AT "tcp://127.0.0.1:23761"
#define CALL   AS_MINUTE /* deadline of a call that ends much earlier */

static char dir[] = "/tmp/as-docker-XXXXXX";
static char endpoint[80], second[64], socket_path[64];
static bool usable;

/* --- helpers ---------------------------------------------------------------------------------------- */

__attribute__((format(printf, 1, 2))) static int shell(const char *fmt, ...)
{
    char command[2048];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(command, sizeof command, fmt, ap);
    va_end(ap);
    return system(command);
}

struct driver {
    void *state;
    struct as_settings *settings;
    struct as_owner owner;
    struct as_error err;
};

static struct driver open_as(const char *at, const char *group, const char *text)
{
    struct driver d = { .owner = { .controller = "test", .group = group } };
    d.state = calloc(1, as_compute_docker.state_size);
    if (as_settings_parse(as_compute_docker.options, text, &d.settings, &d.err) != AS_OK ||
        as_compute_docker.open(d.state, d.settings, &d.owner, at, &d.err) != AS_OK)
        fail_msg("open: %s", d.err.msg);
    return d;
}

static void close_driver(struct driver *d)
{
    as_compute_docker.close(d->state);
    as_settings_free(d->settings);
    free(d->state);
}

static as_time in(as_time ms)
{
    return as_clock_monotonic() + ms;
}

static int create(struct driver *d, const char *id, struct as_instance *out)
{
    struct as_launch launch = { .id = id, .revision = "r1" };
    d->err = (struct as_error){ 0 };
    return as_compute_docker.create(d->state, in(CALL), &launch, out, &d->err);
}

static int destroy(struct driver *d, const char *id)
{
    struct as_instance i = { 0 };
    snprintf(i.id, sizeof i.id, "%s", id);
    d->err = (struct as_error){ 0 };
    return as_compute_docker.destroy(d->state, in(CALL), &i, &d->err);
}

/* The listed instance of this id; false when it is not listed. *count gets how many there are. */
static bool listed(struct driver *d, const char *id, struct as_instance *out, size_t *count)
{
    struct as_instances all = { 0 };
    bool found = false;
    if (as_compute_docker.list(d->state, in(CALL), &all, &d->err) != AS_OK)
        fail_msg("list: %s", d->err.msg);
    for (size_t i = 0; i < all.count; i++)
        if (strcmp(all.items[i].id, id) == 0) {
            found = true;
            if (out)
                *out = all.items[i];
        }
    if (count)
        *count = all.count;
    as_instances_fini(&all);
    return found;
}

/* A plain call to the first daemon, beside the driver. Returns the status; *json is the caller's. */
static long raw(const char *method, const char *path, const char *body, cJSON **json)
{
    struct http_peer peer = { .name = "raw", .base = "http://docker", .unix_path = socket_path };
    struct http_request req = {
        .method = method, .path = path, .body = body, .cap = 1 << 20, .deadline = in(CALL)
    };
    struct http_answer a = { 0 };
    struct as_error err;
    if (http_call(&peer, &req, &a, &err) != AS_OK)
        fail_msg("%s %s: %s", method, path, err.msg);
    if (json)
        *json = json_parse(a.body, a.size);
    long status = a.status;
    http_answer_fini(&a);
    return status;
}

/* Waits until the instance answers HTTP; true when it does within a minute. */
static bool answers(const struct as_instance *i)
{
    struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(i->port) };
    assert_int_equal(inet_pton(AF_INET, i->address, &to.sin_addr), 1);
    for (as_time until = in(CALL); as_clock_monotonic() < until; usleep(10000)) {
        char text[512] = "";
        int fd = socket(AF_INET, SOCK_STREAM, 0);
        if (connect(fd, (struct sockaddr *)&to, sizeof to) == 0 &&
            send(fd, "GET / HTTP/1.0\r\n\r\n", 18, MSG_NOSIGNAL) == 18)
            recv(fd, text, sizeof text - 1, MSG_WAITALL);
        close(fd);
        if (strstr(text, "hello"))
            return true;
    }
    return false;
}

#define NEEDS_DOCKER()                                                                                       \
    do {                                                                                                     \
        if (!usable)                                                                                         \
            skip();                                                                                          \
    } while (0)

#define assert_ok(d, call)                                                                                   \
    do {                                                                                                     \
        if ((call) != AS_OK)                                                                                 \
            fail_msg("%s: %s (%s)", #call, (d).err.msg, as_rc_name((d).err.rc));                             \
    } while (0)

/* --- the tests ------------------------------------------------------------------------------------------ */

static void created_instance_is_listed_and_answers_on_its_published_port(void **state)
{
    (void)state;
    NEEDS_DOCKER();
    struct driver d = open_as(endpoint, "web", LOCAL);
    struct as_instance made = { 0 }, seen = { 0 };
    assert_ok(d, create(&d, "web-00000001", &made));
    assert_string_equal(made.id, "web-00000001");
    assert_string_equal(made.revision, "r1");
    assert_int_equal(made.state, AS_RUN_RUNNING);
    assert_string_equal(made.address, "127.0.0.5");
    assert_true(made.port > 0);
    assert_true(answers(&made));
    assert_true(listed(&d, "web-00000001", &seen, NULL));
    assert_int_equal(seen.state, AS_RUN_RUNNING);
    assert_string_equal(seen.address, made.address);
    assert_int_equal(seen.port, made.port);
    assert_string_equal(seen.revision, "r1");
    assert_true(llabs(seen.created_wall - as_clock_wall()) < AS_MINUTE);
    assert_true(llabs(seen.created_wall - made.created_wall) <= 1000);
    assert_ok(d, destroy(&d, "web-00000001"));
    assert_false(listed(&d, "web-00000001", NULL, NULL));
    close_driver(&d);
}

static void container_address_is_used_when_nothing_is_published(void **state)
{
    (void)state;
    NEEDS_DOCKER();
    struct driver d = open_as(endpoint, "inner", HTTPD "network=\"shopnet\";");
    struct as_instance made = { 0 }, seen = { 0 };
    assert_ok(d, create(&d, "inner-00000001", &made));
    assert_int_equal(made.port, 8080);
    assert_true(answers(&made));
    assert_true(listed(&d, "inner-00000001", &seen, NULL));
    assert_string_equal(seen.address, made.address);
    assert_int_equal(seen.port, 8080);
    assert_ok(d, destroy(&d, "inner-00000001"));
    close_driver(&d);
}

static void create_and_destroy_are_idempotent(void **state)
{
    (void)state;
    NEEDS_DOCKER();
    struct driver d = open_as(endpoint, "web", LOCAL);
    struct as_instance one = { 0 }, two = { 0 };
    size_t count;
    assert_ok(d, create(&d, "web-00000002", &one));
    assert_ok(d, create(&d, "web-00000002", &two));
    assert_int_equal(one.port, two.port);
    assert_true(listed(&d, "web-00000002", NULL, &count));
    assert_int_equal(count, 1);
    assert_int_equal(raw("POST", "/containers/web-00000002/stop?t=1", NULL, NULL), 204);
    assert_true(listed(&d, "web-00000002", &one, NULL));
    assert_int_equal(one.state, AS_RUN_STOPPED);
    assert_non_null(strstr(one.detail, "Exited"));
    assert_int_equal(one.port, 0);
    assert_ok(d, create(&d, "web-00000002", &two));
    assert_int_equal(two.state, AS_RUN_RUNNING);
    assert_true(answers(&two));
    assert_ok(d, destroy(&d, "web-00000002"));
    assert_ok(d, destroy(&d, "web-00000002"));
    close_driver(&d);
}

static void container_carries_what_was_configured(void **state)
{
    (void)state;
    NEEDS_DOCKER();
    struct driver d =
        open_as(endpoint, "web",
                LOCAL "memory=\"32MiB\"; cpus=0.5; env={ COLOR=\"blue\"; }; labels={ team=\"shop\"; };"
                      "binds=[\"kept:/data\"];");
    struct as_instance made = { 0 };
    cJSON *c = NULL;
    assert_ok(d, create(&d, "web-00000003", &made));
    assert_int_equal(raw("GET", "/containers/web-00000003/json", NULL, &c), 200);
    const cJSON *host = json_get(c, "HostConfig"), *labels = json_get(json_get(c, "Config"), "Labels");
    int64_t number = 0;
    assert_true(json_int(host, "Memory", 0, INT64_MAX, &number) && number == 32 << 20);
    assert_true(json_int(host, "MemorySwap", 0, INT64_MAX, &number) && number == 32 << 20);
    assert_true(json_int(host, "NanoCpus", 0, INT64_MAX, &number) && number == 500000000);
    assert_true(cJSON_IsTrue(json_get(host, "Init")));
    assert_string_equal(json_str(json_get(host, "RestartPolicy"), "Name"), "no");
    assert_string_equal(cJSON_GetStringValue(cJSON_GetArrayItem(json_get(host, "Binds"), 0)), "kept:/data");
    assert_string_equal(cJSON_GetStringValue(cJSON_GetArrayItem(json_get(json_get(c, "Config"), "Env"), 0)),
                        "COLOR=blue");
    assert_string_equal(json_str(labels, "team"), "shop");
    assert_string_equal(json_str(labels, "autoscale.controller"), "test");
    assert_string_equal(json_str(labels, "autoscale.group"), "web");
    assert_string_equal(json_str(labels, "autoscale.instance"), "web-00000003");
    assert_string_equal(json_str(labels, "autoscale.revision"), "r1");
    cJSON_Delete(c);
    assert_ok(d, destroy(&d, "web-00000003"));
    assert_int_equal(raw("GET", "/volumes/kept", NULL, NULL), 200); /* data outlives the instance */
    close_driver(&d);
}

#define FOREIGN(labels)                                                                                      \
    "{\"Image\":\"shop:1\",\"Cmd\":[\"sleep\",\"600\"],\"HostConfig\":{\"Init\":true,\"NetworkMode\":"       \
    "\"none\"},"                                                                                             \
    "\"Labels\":{" labels "}}"

static void make_foreign(const char *name, const char *body)
{
    char path[128];
    snprintf(path, sizeof path, "/containers/create?name=%s", name);
    assert_int_equal(raw("POST", path, body, NULL), 201);
    snprintf(path, sizeof path, "/containers/%s/start", name);
    assert_int_equal(raw("POST", path, NULL, NULL), 204);
}

static bool runs(const char *name)
{
    char path[128];
    cJSON *c = NULL;
    snprintf(path, sizeof path, "/containers/%s/json", name);
    long status = raw("GET", path, NULL, &c);
    const char *word = json_str(json_get(c, "State"), "Status");
    bool yes = status == 200 && word && strcmp(word, "running") == 0;
    cJSON_Delete(c);
    return yes;
}

static void foreign_containers_are_never_listed_nor_touched(void **state)
{
    (void)state;
    NEEDS_DOCKER();
    struct driver d = open_as(endpoint, "web", LOCAL);
    struct as_instance i = { 0 };
    size_t count;
    make_foreign("web-0000f001", FOREIGN("\"team\":\"other\""));
    make_foreign("web-0000f002", FOREIGN("\"autoscale.controller\":\"other\",\"autoscale.group\":\"web\","
                                         "\"autoscale.instance\":\"web-0000f002\""));
    make_foreign("web-0000f003", FOREIGN("\"autoscale.controller\":\"test\",\"autoscale.group\":\"db\","
                                         "\"autoscale.instance\":\"web-0000f003\""));
    make_foreign("copied", FOREIGN("\"autoscale.controller\":\"test\",\"autoscale.group\":\"web\","
                                   "\"autoscale.instance\":\"web-0000f004\""));
    listed(&d, "", NULL, &count);
    assert_int_equal(count, 0);
    const char *const names[] = { "web-0000f001", "web-0000f002", "web-0000f003", "copied" };
    for (size_t n = 0; n < 4; n++) {
        snprintf(i.id, sizeof i.id, "%s", names[n]);
        assert_int_equal(create(&d, names[n], &i), AS_EEXIST);
        assert_int_equal(destroy(&d, names[n]), AS_EEXIST);
        assert_int_equal(as_compute_docker.park(d.state, in(CALL), &i, &d.err), AS_EEXIST);
        assert_int_equal(as_compute_docker.unpark(d.state, in(CALL), &i, &i, &d.err), AS_EEXIST);
        assert_true(runs(names[n]));
        char path[96];
        snprintf(path, sizeof path, "/containers/%s?force=1", names[n]);
        raw("DELETE", path, NULL, NULL);
    }
    close_driver(&d);
}

static void assert_nothing_left(const char *id)
{
    char path[128];
    snprintf(path, sizeof path, "/containers/%s/json", id);
    assert_int_equal(raw("GET", path, NULL, NULL), 404);
}

static void missing_image_names_image_and_host(void **state)
{
    (void)state;
    NEEDS_DOCKER();
    struct driver d = open_as(endpoint, "web", "image=\"nowhere:9\"; port=80;");
    struct as_instance i = { 0 };
    assert_int_equal(create(&d, "web-00000004", &i), AS_EINVAL);
    assert_non_null(strstr(d.err.msg, "image 'nowhere:9' is not on host unix://"));
    assert_nothing_left("web-00000004");
    close_driver(&d);
}

static void failed_pull_did_not_happen_and_says_why(void **state)
{
    (void)state;
    NEEDS_DOCKER();
    struct driver d = open_as(endpoint, "web", "image=\"127.0.0.1:9/nowhere:9\"; port=80; pull=\"missing\";");
    struct as_instance i = { 0 };
    assert_int_equal(create(&d, "web-00000005", &i), AS_EAGAIN);
    assert_non_null(strstr(d.err.msg, "cannot pull image '127.0.0.1:9/nowhere:9'"));
    assert_nothing_left("web-00000005");
    close_driver(&d);
}

static void command_that_cannot_run_is_invalid_or_seen_ended(void **state)
{
    (void)state;
    NEEDS_DOCKER();
    struct driver d =
        open_as(endpoint, "web", "image=\"shop:1\"; port=80; command=[\"/nope\"]; network=\"shopnet\";");
    struct as_instance i = { 0 };
    int rc = create(&d, "web-00000006", &i);
    if (rc == AS_OK) { /* it ended after the driver looked: then the list says so */
        for (as_time until = in(CALL); as_clock_monotonic() < until && i.state != AS_RUN_STOPPED;)
            assert_true(listed(&d, "web-00000006", &i, NULL));
        assert_int_equal(i.state, AS_RUN_STOPPED);
        assert_non_null(strstr(i.detail, "127"));
        assert_ok(d, destroy(&d, "web-00000006"));
    } else {
        assert_int_equal(rc, AS_EINVAL);
        assert_non_null(strstr(d.err.msg, "the command cannot be run in image 'shop:1'"));
    }
    assert_nothing_left("web-00000006");
    close_driver(&d);
}

static void refused_start_leaves_nothing_behind(void **state)
{
    (void)state;
    NEEDS_DOCKER();
    struct driver d = open_as(endpoint, "web", HTTPD "publish=\"10.99.99.99\"; network=\"shopnet\";");
    struct as_instance i = { 0 };
    assert_int_equal(create(&d, "web-00000007", &i), AS_EINVAL);
    assert_non_null(strstr(d.err.msg, "cannot assign requested address"));
    assert_nothing_left("web-00000007");
    close_driver(&d);
}

struct launcher {
    struct driver *d;
    char id[32];
    int rc;
    struct as_instance out;
    struct as_error err;
};

static void *launch_one(void *arg)
{
    struct launcher *l = arg;
    struct as_launch launch = { .id = l->id, .revision = "r1" };
    l->rc = as_compute_docker.create(l->d->state, in(CALL), &launch, &l->out, &l->err);
    return NULL;
}

static void parallel_launches_make_one_network_and_mark_it(void **state)
{
    (void)state;
    NEEDS_DOCKER();
    struct driver d = open_as(endpoint, "par", HTTPD "publish=\"127.0.0.6\"; network=\"parnet\";");
    struct launcher all[6];
    pthread_t threads[6];
    for (size_t i = 0; i < 6; i++) {
        all[i] = (struct launcher){ .d = &d };
        snprintf(all[i].id, sizeof all[i].id, "par-0000000%zu", i);
        assert_int_equal(pthread_create(&threads[i], NULL, launch_one, &all[i]), 0);
    }
    for (size_t i = 0; i < 6; i++) {
        pthread_join(threads[i], NULL);
        if (all[i].rc != AS_OK)
            fail_msg("%s: %s", all[i].id, all[i].err.msg);
        assert_true(answers(&all[i].out));
    }
    cJSON *nets = NULL;
    size_t count, same = 0;
    assert_int_equal(raw("GET", "/networks", NULL, &nets), 200);
    const cJSON *n;
    cJSON_ArrayForEach(n, nets)
    {
        if (strcmp(json_str(n, "Name"), "parnet") != 0)
            continue;
        same++;
        assert_string_equal(json_str(n, "Driver"), "bridge");
        assert_string_equal(json_str(json_get(n, "Labels"), "autoscale.controller"), "test");
    }
    cJSON_Delete(nets);
    assert_int_equal(same, 1);
    listed(&d, "", NULL, &count);
    assert_int_equal(count, 6);
    for (size_t i = 0; i < 6; i++)
        assert_ok(d, destroy(&d, all[i].id));
    close_driver(&d);
}

static void foreign_network_is_joined_and_left_as_it_was(void **state)
{
    (void)state;
    NEEDS_DOCKER();
    assert_int_equal(raw("POST", "/networks/create",
                         "{\"Name\":\"theirs\",\"Driver\":\"bridge\",\"Labels\":{\"team\":\"other\"}}", NULL),
                     201);
    struct driver d = open_as(endpoint, "web", HTTPD "network=\"theirs\";");
    struct as_instance i = { 0 };
    cJSON *net = NULL;
    assert_ok(d, create(&d, "web-00000008", &i));
    assert_ok(d, destroy(&d, "web-00000008"));
    assert_int_equal(raw("GET", "/networks/theirs", NULL, &net), 200);
    assert_string_equal(json_str(json_get(net, "Labels"), "team"), "other");
    assert_null(json_str(json_get(net, "Labels"), "autoscale.controller"));
    cJSON_Delete(net);
    close_driver(&d);
}

static void network_removed_between_launches_is_made_again(void **state)
{
    (void)state;
    NEEDS_DOCKER();
    struct driver d = open_as(endpoint, "web", HTTPD "network=\"brief\";");
    struct as_instance i = { 0 };
    assert_ok(d, create(&d, "web-00000009", &i));
    assert_ok(d, destroy(&d, "web-00000009"));
    assert_int_equal(raw("DELETE", "/networks/brief", NULL, NULL), 204);
    assert_int_equal(create(&d, "web-00000009", &i), AS_EAGAIN);
    assert_nothing_left("web-00000009");
    assert_ok(d, create(&d, "web-00000009", &i));
    assert_ok(d, destroy(&d, "web-00000009"));
    close_driver(&d);
}

static void parked_instance_keeps_its_address_and_comes_back(void **state)
{
    (void)state;
    NEEDS_DOCKER();
    struct driver d = open_as(endpoint, "web", LOCAL);
    struct as_instance i = { 0 }, seen = { 0 };
    assert_ok(d, create(&d, "web-0000000a", &i));
    for (int n = 0; n < 2; n++) {
        assert_ok(d, as_compute_docker.park(d.state, in(CALL), &i, &d.err));
        assert_true(listed(&d, i.id, &seen, NULL));
        assert_int_equal(seen.state, AS_RUN_PARKED);
        assert_int_equal(seen.port, i.port);
    }
    for (int n = 0; n < 2; n++) {
        assert_ok(d, as_compute_docker.unpark(d.state, in(CALL), &i, &seen, &d.err));
        assert_int_equal(seen.state, AS_RUN_RUNNING);
        assert_int_equal(seen.port, i.port);
    }
    assert_true(answers(&seen));
    assert_ok(d, as_compute_docker.park(d.state, in(CALL), &i, &d.err));
    assert_ok(d, create(&d, i.id, &seen)); /* brings a parked one back too */
    assert_int_equal(seen.state, AS_RUN_RUNNING);
    assert_ok(d, as_compute_docker.park(d.state, in(CALL), &i, &d.err));
    assert_ok(d, destroy(&d, "web-0000000a"));
    assert_int_equal(as_compute_docker.park(d.state, in(CALL), &i, &d.err), AS_ENOENT);
    close_driver(&d);
}

static pid_t daemon_pid(void)
{
    char path[96];
    snprintf(path, sizeof path, "%s/a/pid", dir);
    return pid_in(path);
}

static void hung_daemon_makes_the_outcome_unknown_within_the_deadline(void **state)
{
    (void)state;
    NEEDS_DOCKER();
    struct driver d = open_as(endpoint, "web", LOCAL);
    struct as_instances all = { 0 };
    struct as_instance i = { 0 };
    struct as_launch launch = { .id = "web-0000000b", .revision = "r1" };
    size_t count;
    assert_ok(d, create(&d, "web-0000000c", &i)); /* the network is known, the version negotiated */
    hang_process(daemon_pid());
    as_time began = as_clock_monotonic();
    int made = as_compute_docker.create(d.state, in(700), &launch, &i, &d.err);
    as_time took = as_clock_monotonic() - began;
    int seen = as_compute_docker.list(d.state, in(300), &all, &d.err);
    kill(daemon_pid(), SIGCONT);
    assert_int_equal(made, AS_EUNKNOWN);
    assert_true(took >= 600 && took < 30000);
    assert_int_equal(seen, AS_EAGAIN);
    assert_int_equal(all.count, 0);
    listed(&d, "web-0000000b", NULL, &count); /* whatever became of it, one of these two is the truth */
    assert_true(count == 1 || count == 2);
    assert_ok(d, create(&d, "web-0000000b", &i));
    assert_true(answers(&i));
    assert_true(listed(&d, "web-0000000b", NULL, &count));
    assert_int_equal(count, 2);
    assert_ok(d, destroy(&d, "web-0000000b"));
    assert_ok(d, destroy(&d, "web-0000000c"));
    close_driver(&d);
}

static void dead_daemon_did_nothing_and_its_restart_shows_what_ended(void **state)
{
    (void)state;
    NEEDS_DOCKER();
    struct driver d = open_as(endpoint, "web", LOCAL);
    struct as_instance i = { 0 }, other = { 0 };
    assert_ok(d, create(&d, "web-0000000d", &i));
    assert_int_equal(shell(DAEMON "kill %s/a", dir), 0);
    assert_int_equal(create(&d, "web-0000000e", &other), AS_EAGAIN);
    assert_int_equal(destroy(&d, "web-0000000d"), AS_EAGAIN);
    assert_int_equal(shell(DAEMON "start %s/a", dir), 0);
    assert_true(listed(&d, "web-0000000d", &i, NULL));
    assert_int_equal(i.state, AS_RUN_STOPPED);
    assert_string_equal(i.address, "");
    assert_false(listed(&d, "web-0000000e", NULL, NULL));
    assert_ok(d, create(&d, "web-0000000d", &i));
    assert_true(answers(&i));
    assert_ok(d, destroy(&d, "web-0000000d"));
    close_driver(&d);
}

static void slow_application_is_stopped_within_the_deadline(void **state)
{
    (void)state;
    NEEDS_DOCKER();
    struct driver d = open_as(endpoint, "web",
                              "image=\"shop:1\"; port=8080; network=\"shopnet\"; stop_timeout=\"60s\";"
                              "command=[\"sh\",\"-c\",\"trap : TERM; httpd -h /www -p 8080; "
                              "while :; do sleep 1; done\"];");
    struct as_instance i = { 0 };
    assert_ok(d, create(&d, "web-0000000f", &i));
    assert_true(answers(&i)); /* it hears TERM by now */
    as_time began = as_clock_monotonic();
    assert_ok(d, as_compute_docker.destroy(d.state, in(8000), &i, &d.err));
    as_time took = as_clock_monotonic() - began;
    assert_true(took >= 900 && took < 8000); /* it had its chance, cut to what the deadline allows */
    assert_nothing_left("web-0000000f");
    close_driver(&d);
}

static void second_host_over_tls_is_its_own_world(void **state)
{
    (void)state;
    NEEDS_DOCKER();
    char text[1024];
    snprintf(text, sizeof text,
             HTTPD
             "network=\"shopnet\"; tls_ca=\"%s/ca.pem\"; tls_cert=\"%s/cert.pem\"; tls_key=\"%s/key.pem\";",
             dir, dir, dir);
    struct driver a = open_as(endpoint, "web", LOCAL), b = open_as(TLS_AT, "web", text);
    struct as_instance i = { 0 };
    assert_ok(b, create(&b, "web-000000b1", &i));
    assert_true(answers(&i));
    assert_true(listed(&b, "web-000000b1", NULL, NULL));
    assert_false(listed(&a, "web-000000b1", NULL, NULL));
    assert_ok(a, destroy(&a, "web-000000b1")); /* gone from here: it never was here */
    assert_true(listed(&b, "web-000000b1", NULL, NULL));
    assert_ok(b, destroy(&b, "web-000000b1"));
    close_driver(&a);
    close_driver(&b);
}

static void host_that_does_not_trust_us_is_a_refusal(void **state)
{
    (void)state;
    NEEDS_DOCKER();
    char text[512];
    snprintf(text, sizeof text, HTTPD "tls_ca=\"%s/other.pem\";", dir);
    struct driver d = open_as(TLS_AT, "web", text);
    struct as_instances all = { 0 };
    assert_int_equal(as_compute_docker.list(d.state, in(CALL), &all, &d.err), AS_EAUTH);
    assert_non_null(strstr(d.err.msg, "check the certificates"));
    close_driver(&d);
}

/* --- two daemons ------------------------------------------------------------------------------------------- */

static int make_certificates(void)
{
    return shell(
        "cd %s && exec >/dev/null 2>&1 && umask 077 &&"
        " for ca in ca other; do openssl req -x509 -newkey rsa:2048 -nodes -subj /CN=$ca -days 2"
        " -keyout $ca.key -out $ca.pem || exit 1; done;"
        " for who in server client; do openssl req -newkey rsa:2048 -nodes -subj /CN=$who -keyout $who.key"
        " -out $who.csr && printf 'subjectAltName=IP:127.0.0.1\\nextendedKeyUsage=serverAuth,clientAuth\\n'"
        " >ext && openssl x509 -req -in $who.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile "
        "ext"
        " -out $who.pem || exit 1; done; mv client.pem cert.pem && mv client.key key.pem",
        dir);
}

static int start_daemons(void **state)
{
    (void)state;
    if (geteuid() != 0 || shell("command -v dockerd openssl curl busybox >/dev/null 2>&1") != 0 ||
        unshare(CLONE_NEWNET) != 0 || shell("ip link set lo up") != 0) {
        print_message("docker is not usable here (needs root and dockerd): tests are skipped\n");
        return 0;
    }
    if (!mkdtemp(dir) || make_certificates() != 0)
        return -1;
    snprintf(socket_path, sizeof socket_path, "%s/a/docker.sock", dir);
    snprintf(endpoint, sizeof endpoint, "unix://%s", socket_path);
    snprintf(second, sizeof second, "%s/b", dir);
    if (shell(DAEMON "start %s/a && " DAEMON "image %s/a shop:1", dir, dir) != 0 ||
        shell(DAEMON "start %s - -H " TLS_AT " --tlsverify --tlscacert %s/ca.pem --tlscert %s/server.pem"
                     " --tlskey %s/server.key && " DAEMON "image %s shop:1",
              second, dir, dir, dir, second) != 0)
        return -1;
    usable = true;
    return 0;
}

static int stop_daemons(void **state)
{
    (void)state;
    if (strchr(dir, 'X') == NULL)
        shell(DAEMON "stop %s/a; " DAEMON "stop %s/b; rm -rf %s", dir, dir, dir);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(created_instance_is_listed_and_answers_on_its_published_port),
        cmocka_unit_test(container_address_is_used_when_nothing_is_published),
        cmocka_unit_test(create_and_destroy_are_idempotent),
        cmocka_unit_test(container_carries_what_was_configured),
        cmocka_unit_test(foreign_containers_are_never_listed_nor_touched),
        cmocka_unit_test(missing_image_names_image_and_host),
        cmocka_unit_test(failed_pull_did_not_happen_and_says_why),
        cmocka_unit_test(command_that_cannot_run_is_invalid_or_seen_ended),
        cmocka_unit_test(refused_start_leaves_nothing_behind),
        cmocka_unit_test(parallel_launches_make_one_network_and_mark_it),
        cmocka_unit_test(foreign_network_is_joined_and_left_as_it_was),
        cmocka_unit_test(network_removed_between_launches_is_made_again),
        cmocka_unit_test(parked_instance_keeps_its_address_and_comes_back),
        cmocka_unit_test(hung_daemon_makes_the_outcome_unknown_within_the_deadline),
        cmocka_unit_test(dead_daemon_did_nothing_and_its_restart_shows_what_ended),
        cmocka_unit_test(slow_application_is_stopped_within_the_deadline),
        cmocka_unit_test(second_host_over_tls_is_its_own_world),
        cmocka_unit_test(host_that_does_not_trust_us_is_a_refusal),
    };
    return cmocka_run_group_tests(tests, start_daemons, stop_daemons);
}
