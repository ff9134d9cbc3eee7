/* One kept MariaDB connection. It must never wait past its deadline, never write to the database, never hand
 * out a local file, and never let a password into an error text. */
#include <errno.h>
#include <mysql.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "autoscale/settings.h"
#include "marialink.h"

#define DEFAULT_PORT 3306
#define PASSWORD_MAX 1024
#define UNWIND_MAX   32 /* steps a call may take after it was told that its time is over */

/* Error numbers of the server (1000…) and of the library (2000…). */
enum {
    TOO_MANY_CONNECTIONS = 1040,
    DATABASE_REFUSED = 1044,
    ACCESS_DENIED = 1045,
    UNKNOWN_DATABASE = 1049,
    SHUTTING_DOWN = 1053,
    HOST_BLOCKED = 1129,
    HOST_REFUSED = 1130,
    TABLE_REFUSED = 1142,
    COLUMN_REFUSED = 1143,
    TOO_MANY_OF_USER = 1203,
    LOCK_TIMEOUT = 1205,
    DEADLOCK = 1213,
    USER_LIMIT = 1226,
    PRIVILEGE_MISSING = 1227,
    INTERRUPTED = 1317,
    ROUTINE_REFUSED = 1370,
    ACCESS_DENIED_NO_PASSWORD = 1698,
    PASSWORD_EXPIRED = 1820,
    PASSWORD_EXPIRED_LOGIN = 1862,
    CONNECTION_KILLED = 1927,
    STATEMENT_TIMEOUT = 1969,
    LIBRARY_FIRST = 2000,
    CANNOT_CONNECT_SOCKET = 2002,
    CANNOT_CONNECT = 2003,
    OUT_OF_MEMORY = 2008,
    TLS_FAILED = 2026,
    MALFORMED = 2027,
    PLUGIN_MISSING = 2059,
    LIBRARY_LAST = 2999,
    ACCOUNT_LOCKED = 4151,
};

static pthread_once_t library_once = PTHREAD_ONCE_INIT;

static void library_start(void)
{
    mysql_library_init(0, NULL, NULL);
}

int marialink_init(struct marialink *l, const char *address, const struct marialink_login *login,
                   struct as_error *err)
{
    pthread_once(&library_once, library_start); /* mysql_init would do it, but not safely from two lanes */
    l->login = *login;
    return endpoint_init(&l->at, address, DEFAULT_PORT, err);
}

/* --- steps of the library --------------------------------------------------------------------- */

/* What has become ready of what the library waits for; 0 when the deadline passed. A failed poll is told to
 * the library as readiness, so that it meets the error itself. */
static int link_wait(const struct marialink *l, as_time deadline)
{
    short events =
        (short)((l->waits & MYSQL_WAIT_READ ? POLLIN : 0) | (l->waits & MYSQL_WAIT_WRITE ? POLLOUT : 0) |
                (l->waits & MYSQL_WAIT_EXCEPT ? POLLPRI : 0));
    int n = endpoint_wait(mysql_get_socket(l->conn), events, deadline);
    int all = l->waits & (MYSQL_WAIT_READ | MYSQL_WAIT_WRITE | MYSQL_WAIT_EXCEPT);
    return n == 0 ? 0 : all ? all : MYSQL_WAIT_TIMEOUT;
}

static void step_go_on(struct marialink *l, int ready)
{
    if (l->step == MARIALINK_QUERY)
        l->waits = mysql_real_query_cont(&l->failed, l->conn, ready);
    else if (l->step == MARIALINK_ROWS)
        l->waits = mysql_fetch_row_cont(&l->row, l->result, ready);
    else
        l->waits = 0;
}

/* A call under way is told that its time is over, so that it frees what it holds; a socket that is shut down
 * keeps the library from waiting for a polite end. */
static void link_drop(struct marialink *l)
{
    if (l->conn) {
        for (int i = 0; l->waits && i < UNWIND_MAX; i++)
            step_go_on(l, MYSQL_WAIT_TIMEOUT);
        my_socket fd = mysql_get_socket(l->conn);
        if (l->step != MARIALINK_IDLE && fd >= 0)
            shutdown(fd, SHUT_RDWR);
        mysql_free_result(l->result);
        mysql_close(l->conn);
    }
    free(l->sql);
    l->sql = NULL;
    l->conn = NULL;
    l->result = NULL;
    l->row = NULL;
    l->step = MARIALINK_IDLE;
    l->waits = 0;
    l->late = false;
}

void marialink_reset(struct marialink *l)
{
    link_drop(l);
}

void marialink_fini(struct marialink *l)
{
    link_drop(l);
    endpoint_fini(&l->at);
}

/* --- errors ----------------------------------------------------------------------------------- */

static int fail_late(const struct marialink *l, const char *what, struct as_error *err)
{
    char span[32];
    return as_fail(err, AS_EAGAIN, "%s within %s", what,
                   as_time_text(as_clock_monotonic() - l->began, span, sizeof span));
}

static bool is_one_of(unsigned code, const unsigned *list, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (list[i] == code)
            return true;
    return false;
}

/* Before the TLS handshake the server's refusal arrives wrapped in an error of the library. */
static bool is_full(unsigned code, const char *text)
{
    return code == TOO_MANY_CONNECTIONS || strstr(text, ": 1040 - ") || strstr(text, "Too many connections");
}

static int fail_tls(const char *line, struct as_error *err)
{
    if (strcasestr(line, "certificate") || strcasestr(line, "verif"))
        return as_fail(err, AS_EAUTH, "the server does not prove who it is: %s: look at tls_ca and address",
                       line);
    if (strcasestr(line, "does not support") || strcasestr(line, "required"))
        return as_fail(err, AS_EAUTH, "the server does not speak TLS: set it up there or remove tls_ca");
    return as_fail(err, AS_EAGAIN, "TLS: %s", line);
}

static int fail_code(unsigned code, const char *text, struct as_error *err)
{
    static const unsigned refused[] = { DATABASE_REFUSED,  ACCESS_DENIED,          HOST_BLOCKED,
                                        HOST_REFUSED,      TABLE_REFUSED,          COLUMN_REFUSED,
                                        PRIVILEGE_MISSING, ROUTINE_REFUSED,        ACCESS_DENIED_NO_PASSWORD,
                                        PASSWORD_EXPIRED,  PASSWORD_EXPIRED_LOGIN, PLUGIN_MISSING,
                                        ACCOUNT_LOCKED };
    static const unsigned passing[] = { SHUTTING_DOWN, TOO_MANY_OF_USER, LOCK_TIMEOUT,     DEADLOCK,
                                        USER_LIMIT,    INTERRUPTED,      CONNECTION_KILLED };
    char line[180];
    endpoint_line(text, line, sizeof line);
    if (is_full(code, text))
        return as_fail(err, AS_EAGAIN,
                       "too many connections, the server has no slot left for us: raise max_connections or "
                       "give its extra_port as the address");
    if (code == ACCESS_DENIED && strstr(text, "using password: NO"))
        return as_fail(err, AS_EAUTH, "the server asks for a password and there is none: set password_file");
    if (code == UNKNOWN_DATABASE)
        return as_fail(err, AS_EINVAL, "%s: correct database", line);
    if (code == STATEMENT_TIMEOUT)
        return as_fail(err, AS_EAGAIN, "%s (statement_timeout)", line);
    if (is_one_of(code, refused, sizeof refused / sizeof *refused))
        return as_fail(err, AS_EAUTH, "the server refuses us: %s", line);
    if (is_one_of(code, passing, sizeof passing / sizeof *passing))
        return as_fail(err, AS_EAGAIN, "%s", line);
    if (code == TLS_FAILED)
        return fail_tls(line, err);
    if (code == OUT_OF_MEMORY)
        return as_fail(err, AS_ENOMEM, "out of memory");
    if (code == MALFORMED)
        return as_fail(err, AS_EPROTO, "the server does not speak MariaDB's protocol: look at the address");
    if (code >= LIBRARY_FIRST && code <= LIBRARY_LAST)
        return as_fail(err, AS_EAGAIN, "%s", line);
    return as_fail(err, AS_EPROTO, "%s (error %u)", line, code);
}

/* After an error of the library, or one the server says goodbye with, the connection is of no use. */
static bool is_fatal(unsigned code)
{
    return (code >= LIBRARY_FIRST && code <= LIBRARY_LAST) || code == SHUTTING_DOWN ||
           code == CONNECTION_KILLED;
}

/* The statement under way failed. */
static int fail_statement(struct marialink *l, unsigned *code, struct as_error *err)
{
    unsigned n = mysql_errno(l->conn);
    int rc = fail_code(n, mysql_error(l->conn), err);
    if (code)
        *code = n;
    if (is_fatal(n))
        link_drop(l);
    return rc;
}

/* --- connecting ------------------------------------------------------------------------------- */

static void connect_options(const struct marialink *l, MYSQL *m)
{
    unsigned no = 0, tcp = MYSQL_PROTOCOL_TCP, seconds = 1;
    my_bool yes = 1, off = 0;
    unsigned long packet = MARIALINK_ANSWER_MAX;
    mysql_options(m, MYSQL_OPT_NONBLOCK, NULL);
    mysql_options(m, MYSQL_OPT_LOCAL_INFILE, &no); /* a server may ask for any file, whatever was queried */
    mysql_options(m, MYSQL_OPT_RECONNECT, &off);
    mysql_options(m, MYSQL_OPT_MAX_ALLOWED_PACKET, &packet);
    mysql_options(m, MYSQL_OPT_WRITE_TIMEOUT, &seconds); /* of the goodbye in mysql_close */
    mysql_options(m, MYSQL_SET_CHARSET_NAME, "utf8mb4");
    mysql_options4(m, MYSQL_OPT_CONNECT_ATTR_ADD, "program_name", "autoscale");
    mysql_options(m, MARIADB_OPT_RESTRICTED_AUTH,
                  "mysql_native_password,client_ed25519,caching_sha2_password,sha256_password,"
                  "auth_gssapi_client");
    if (l->at.host[0])
        mysql_options(m, MYSQL_OPT_PROTOCOL, &tcp); /* "localhost" would mean the socket */
    if (!l->at.host[0] || !l->login.tls_ca)
        return;
    mysql_options(m, MYSQL_OPT_SSL_CA, l->login.tls_ca);
    mysql_options(m, MYSQL_OPT_SSL_ENFORCE, &yes);
    mysql_options(m, MYSQL_OPT_SSL_VERIFY_SERVER_CERT, &yes);
}

/* One attempt; *refused: the server was not reached, another address may do. */
static int connect_once(struct marialink *l, const char *host, const char *password, as_time deadline,
                        bool *refused, struct as_error *err)
{
    MYSQL *done = NULL;
    *refused = false;
    l->conn = mysql_init(NULL);
    if (!l->conn)
        return as_fail(err, AS_ENOMEM, "out of memory");
    connect_options(l, l->conn);
    l->waits = mysql_real_connect_start(&done, l->conn, host, l->login.user, password, l->login.database,
                                        l->at.port, l->at.host[0] ? NULL : l->at.path, 0);
    int ready = MYSQL_WAIT_TIMEOUT, over = 0;
    while (l->waits && over < UNWIND_MAX) {
        ready = over ? 0 : link_wait(l, deadline);
        if (ready == 0)
            over++;
        l->waits = mysql_real_connect_cont(&done, l->conn, ready ? ready : MYSQL_WAIT_TIMEOUT);
    }
    l->waits = 0;
    if (done && !over)
        return AS_OK;
    unsigned code = mysql_errno(l->conn);
    *refused = over > 0 || code == CANNOT_CONNECT || code == CANNOT_CONNECT_SOCKET;
    int rc = over ? fail_late(l, "no connection", err) : fail_code(code, mysql_error(l->conn), err);
    link_drop(l);
    return rc;
}

static int connect_any(struct marialink *l, const char *password, as_time deadline, struct as_error *err)
{
    struct endpoint_addrs at = { 0 };
    bool again = true;
    if (!l->at.host[0])
        return connect_once(l, NULL, password, deadline, &again, err);
    int rc = endpoint_resolve(&l->at, deadline, &at, err);
    if (rc != AS_OK)
        return rc;
    if (l->login.tls_ca) /* the certificate is of the name */
        return connect_once(l, l->at.host, password, deadline, &again, err);
    for (size_t i = 0; again && i < at.count; i++) {
        /* a silent first address must leave time for the next */
        as_time part = as_clock_monotonic() + as_time_left(deadline) / (as_time)(at.count - i);
        rc = connect_once(l, at.text[i], password, part, &again, err);
        again = again && rc != AS_OK;
    }
    return rc;
}

static int run(struct marialink *l, const char *sql, as_time deadline, struct marialink_table *out,
               unsigned *code, struct as_error *err);

static int link_connect(struct marialink *l, as_time deadline, struct as_error *err)
{
    char password[PASSWORD_MAX] = "", sql[160];
    struct marialink_table none = { 0 };
    int rc = AS_OK;
    if (l->login.password_file)
        rc = as_secret_read(l->login.password_file, password, sizeof password, err);
    if (rc == AS_OK)
        rc = connect_any(l, password, deadline, err);
    explicit_bzero(password, sizeof password);
    if (rc != AS_OK)
        return rc;
    snprintf(sql, sizeof sql, "set tx_read_only = 1, max_statement_time = %lld.%03lld",
             (long long)(l->login.statement_timeout / 1000), (long long)(l->login.statement_timeout % 1000));
    rc = run(l, sql, deadline, &none, NULL, err);
    marialink_table_fini(&none);
    if (rc != AS_OK)
        link_drop(l); /* no session without its limits */
    return rc;
}

/* --- statements ------------------------------------------------------------------------------- */

/* Drives the library until the step has ended; AS_EAGAIN and late when the deadline passes first. */
static int step_finish(struct marialink *l, as_time deadline, struct as_error *err)
{
    while (l->waits) {
        int ready = link_wait(l, deadline);
        if (ready == 0) {
            l->late_since = l->late ? l->late_since : as_clock_monotonic();
            l->late = true;
            return fail_late(l, "no answer", err);
        }
        step_go_on(l, ready);
    }
    return AS_OK;
}

void marialink_table_fini(struct marialink_table *t)
{
    for (size_t i = 0; t->cells && i < (size_t)t->rows * t->columns; i++)
        free(t->cells[i]);
    for (size_t i = 0; t->names && i < t->columns; i++)
        free(t->names[i]);
    free(t->cells);
    free(t->names);
    *t = (struct marialink_table){ 0 };
}

static int table_begin(struct marialink_table *t, MYSQL_RES *result, struct as_error *err)
{
    unsigned columns = mysql_num_fields(result);
    if (columns > MARIALINK_COLUMNS_MAX)
        return as_fail(err, AS_EPROTO, "the answer has more than %d columns", MARIALINK_COLUMNS_MAX);
    t->names = calloc(columns ? columns : 1, sizeof *t->names);
    if (!t->names)
        return as_fail(err, AS_ENOMEM, "out of memory");
    t->columns = columns;
    for (unsigned c = 0; c < columns; c++)
        if (!(t->names[c] = strdup(mysql_fetch_field_direct(result, c)->name)))
            return as_fail(err, AS_ENOMEM, "out of memory");
    return AS_OK;
}

static int table_add(struct marialink_table *t, char **row, const unsigned long *lengths, size_t *bytes,
                     struct as_error *err)
{
    if (t->rows >= MARIALINK_ROWS_MAX)
        return as_fail(err, AS_EPROTO, "the answer has more than %d rows", MARIALINK_ROWS_MAX);
    char **cells = realloc(t->cells, ((size_t)t->rows + 1) * t->columns * sizeof *cells);
    if (!cells)
        return as_fail(err, AS_ENOMEM, "out of memory");
    t->cells = cells;
    cells += (size_t)t->rows * t->columns;
    memset(cells, 0, t->columns * sizeof *cells);
    t->rows++;
    for (unsigned c = 0; c < t->columns; c++) {
        if (!row[c])
            continue;
        *bytes += lengths[c];
        if (*bytes > MARIALINK_ANSWER_MAX)
            return as_fail(err, AS_EPROTO, "the answer is larger than %zu KiB", MARIALINK_ANSWER_MAX / 1024);
        if (!(cells[c] = strndup(row[c], lengths[c])))
            return as_fail(err, AS_ENOMEM, "out of memory");
    }
    return AS_OK;
}

/* Ends the statement under way, reading to its end; `t` NULL: the rows are dropped. */
static int fetch_rows(struct marialink *l, as_time deadline, struct marialink_table *t, unsigned *code,
                      struct as_error *err)
{
    size_t bytes = 0;
    for (;;) {
        int rc = step_finish(l, deadline, err);
        if (rc != AS_OK)
            return rc;
        if (!l->row)
            break;
        if (t && (rc = table_add(t, l->row, mysql_fetch_lengths(l->result), &bytes, err)) != AS_OK) {
            link_drop(l); /* rather than reading on */
            return rc;
        }
        l->waits = mysql_fetch_row_start(&l->row, l->result);
    }
    l->step = MARIALINK_IDLE;
    int rc = mysql_errno(l->conn) ? fail_statement(l, code, err) : AS_OK;
    mysql_free_result(l->result); /* read to the end: does not wait. NULL after a drop */
    l->result = NULL;
    return rc;
}

/* From the sent statement to its rows. */
static int run_on(struct marialink *l, as_time deadline, struct marialink_table *t, unsigned *code,
                  struct as_error *err)
{
    int rc = step_finish(l, deadline, err);
    if (rc != AS_OK)
        return rc;
    if (l->step == MARIALINK_ROWS)
        return fetch_rows(l, deadline, t, code, err);
    l->step = MARIALINK_IDLE;
    if (l->failed)
        return fail_statement(l, code, err);
    l->result = mysql_use_result(l->conn);
    if (!l->result)
        return mysql_field_count(l->conn) == 0 ? AS_OK : fail_statement(l, code, err);
    if (t && (rc = table_begin(t, l->result, err)) != AS_OK) {
        l->step = MARIALINK_ROWS; /* rows are still to come */
        link_drop(l);
        return rc;
    }
    l->step = MARIALINK_ROWS;
    l->waits = mysql_fetch_row_start(&l->row, l->result);
    return fetch_rows(l, deadline, t, code, err);
}

static int run(struct marialink *l, const char *sql, as_time deadline, struct marialink_table *out,
               unsigned *code, struct as_error *err)
{
    struct marialink_table t = { 0 };
    free(l->sql);
    l->sql = strdup(sql); /* the library may still need it in a later call */
    if (!l->sql)
        return as_fail(err, AS_ENOMEM, "out of memory");
    l->statements++;
    l->step = MARIALINK_QUERY;
    l->failed = 0;
    l->waits = mysql_real_query_start(&l->failed, l->conn, l->sql, strlen(l->sql));
    int rc = run_on(l, deadline, &t, code, err);
    if (rc == AS_OK)
        *out = t;
    else
        marialink_table_fini(&t);
    return rc;
}

/* Waits for the answer of an earlier call and drops it. */
static int link_drain(struct marialink *l, as_time deadline, struct as_error *err)
{
    if (as_clock_monotonic() - l->late_since > MARIALINK_LATE_MAX) {
        link_drop(l);
        return AS_OK;
    }
    struct as_error old = { 0 }; /* what became of the old statement is of no interest */
    int rc = run_on(l, deadline, NULL, NULL, &old);
    if (rc != AS_OK && l->conn && l->waits) {
        if (err)
            *err = old;
        return rc;
    }
    l->late = false;
    return AS_OK;
}

int marialink_query(struct marialink *l, const char *sql, as_time deadline, struct marialink_table *out,
                    unsigned *code, struct as_error *err)
{
    int rc = AS_OK;
    l->began = as_clock_monotonic();
    if (code)
        *code = 0;
    for (int attempt = 0; attempt < 2; attempt++) {
        bool kept = l->conn != NULL;
        if (l->late)
            rc = link_drain(l, deadline, err);
        if (rc == AS_OK && !l->conn)
            rc = link_connect(l, deadline, err);
        if (rc == AS_OK)
            rc = run(l, sql, deadline, out, code, err);
        if (rc != AS_EAGAIN || !kept || l->conn)
            return rc;
        rc = AS_OK; /* a kept connection turned out dead: worth a second try */
        if (code)
            *code = 0;
        if (err)
            *err = (struct as_error){ 0 };
    }
    return rc;
}

const char *marialink_cell(const struct marialink_table *t, unsigned row, const char *name)
{
    for (unsigned c = 0; row < t->rows && c < t->columns; c++)
        if (strcasecmp(t->names[c], name) == 0)
            return t->cells[(size_t)row * t->columns + c];
    return NULL;
}

bool marialink_usable(const struct marialink *l)
{
    return l->conn && !l->late;
}
