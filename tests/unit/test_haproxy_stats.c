/* What is read from HAProxy's runtime socket, against answers recorded from HAProxy 2.6.12: the framing, the
 * tables, the meaning of servers and backends, and the same with columns moved, missing or mangled. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "../../drivers/balancer/haproxy_members.h"
#include "../../drivers/source/haproxy_stats.h"
#include "../../drivers/wire/haproxy_cli.h"

/* clang-format off */
/* `show stat -1 2 -1`: web has six sessions, four of them queued; plain is a tcp backend; fixed is empty */
static const char backends[] =
    "# pxname,svname,qcur,qmax,scur,smax,slim,stot,bin,bout,dreq,dresp,ereq,econ,eresp,wretr,wr"
    "edis,status,weight,act,bck,chkfail,chkdown,lastchg,downtime,qlimit,pid,iid,sid,throttle,lb"
    "tot,tracked,type,rate,rate_lim,rate_max,check_status,check_code,check_duration,hrsp_1xx,hr"
    "sp_2xx,hrsp_3xx,hrsp_4xx,hrsp_5xx,hrsp_other,hanafail,req_rate,req_rate_max,req_tot,cli_ab"
    "rt,srv_abrt,comp_in,comp_out,comp_byp,comp_rsp,lastsess,last_chk,last_agt,qtime,ctime,rtim"
    "e,ttime,agent_status,agent_code,agent_duration,check_desc,agent_desc,check_rise,check_fall"
    ",check_health,agent_rise,agent_fall,agent_health,addr,cookie,mode,algo,conn_rate,conn_rate"
    "_max,conn_tot,intercepted,dcon,dses,wrew,connect,reuse,cache_lookups,cache_hits,srv_icur,s"
    "rc_ilim,qtime_max,ctime_max,rtime_max,ttime_max,eint,idle_conn_cur,safe_conn_cur,used_conn"
    "_cur,need_conn_est,uweight,agg_server_status,agg_server_check_status,agg_check_status,-,ss"
    "l_sess,ssl_reused_sess,ssl_failed_handshake,h2_headers_rcvd,h2_data_rcvd,h2_settings_rcvd,"
    "h2_rst_stream_rcvd,h2_goaway_rcvd,h2_detected_conn_protocol_errors,h2_detected_strm_protoc"
    "ol_errors,h2_rst_stream_resp,h2_goaway_resp,h2_open_connections,h2_backend_open_streams,h2"
    "_total_connections,h2_backend_total_streams,h1_open_connections,h1_open_streams,h1_total_c"
    "onnections,h1_total_streams,h1_bytes_in,h1_bytes_out,h1_spliced_bytes_in,h1_spliced_bytes_"
    "out,\n"
    "web,BACKEND,4,4,6,6,999,39,3102,3918,0,0,,0,0,0,0,UP,20,1,0,,0,3,0,,1,3,0,,35,,1,15,,20,,,"
    ",0,30,0,0,3,0,,,,33,0,0,0,0,0,0,1,,,0,0,10,50,,,,,,,,,,,,,,http,leastconn,,,,,,,0,4,31,0,0"
    ",,,0,0,11,58,0,,,,,20,0,0,0,-,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,4,2,4,35,3819,3169,0,0,\n"
    "plain,BACKEND,0,0,0,0,1,0,0,0,0,0,,0,0,0,0,UP,1,1,0,,0,3,0,,1,4,0,,0,,1,0,,0,,,,,,,,,,,,,,"
    "0,0,0,0,0,0,-1,,,0,0,0,0,,,,,,,,,,,,,,tcp,roundrobin,,,,,,,0,0,0,,,,,0,0,0,0,0,,,,,1,0,0,0"
    ",-,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,\n"
    "fixed,BACKEND,0,0,0,0,1,0,0,0,0,0,,0,0,0,0,UP,0,0,0,,0,3,,,1,5,0,,0,,1,0,,0,,,,0,0,0,0,0,0"
    ",,,,0,0,0,0,0,0,0,-1,,,0,0,0,0,,,,,,,,,,,,,,http,static-rr,,,,,,,0,0,0,0,0,,,0,0,0,0,0,,,,"
    ",0,0,0,0,-,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,\n"
    "\n";
/* `show stat web 4 -1`: up, draining and dead, draining, maintenance, just added */
static const char servers[] =
    "# pxname,svname,qcur,qmax,scur,smax,slim,stot,bin,bout,dreq,dresp,ereq,econ,eresp,wretr,wr"
    "edis,status,weight,act,bck,chkfail,chkdown,lastchg,downtime,qlimit,pid,iid,sid,throttle,lb"
    "tot,tracked,type,rate,rate_lim,rate_max,check_status,check_code,check_duration,hrsp_1xx,hr"
    "sp_2xx,hrsp_3xx,hrsp_4xx,hrsp_5xx,hrsp_other,hanafail,req_rate,req_rate_max,req_tot,cli_ab"
    "rt,srv_abrt,comp_in,comp_out,comp_byp,comp_rsp,lastsess,last_chk,last_agt,qtime,ctime,rtim"
    "e,ttime,agent_status,agent_code,agent_duration,check_desc,agent_desc,check_rise,check_fall"
    ",check_health,agent_rise,agent_fall,agent_health,addr,cookie,mode,algo,conn_rate,conn_rate"
    "_max,conn_tot,intercepted,dcon,dses,wrew,connect,reuse,cache_lookups,cache_hits,srv_icur,s"
    "rc_ilim,qtime_max,ctime_max,rtime_max,ttime_max,eint,idle_conn_cur,safe_conn_cur,used_conn"
    "_cur,need_conn_est,uweight,agg_server_status,agg_server_check_status,agg_check_status,-,ss"
    "l_sess,ssl_reused_sess,ssl_failed_handshake,h2_headers_rcvd,h2_data_rcvd,h2_settings_rcvd,"
    "h2_rst_stream_rcvd,h2_goaway_rcvd,h2_detected_conn_protocol_errors,h2_detected_strm_protoc"
    "ol_errors,h2_rst_stream_resp,h2_goaway_resp,h2_open_connections,h2_backend_open_streams,h2"
    "_total_connections,h2_backend_total_streams,h1_open_connections,h1_open_streams,h1_total_c"
    "onnections,h1_total_streams,h1_bytes_in,h1_bytes_out,h1_spliced_bytes_in,h1_spliced_bytes_"
    "out,\n"
    "web,web-1,0,0,2,2,2,35,3102,3918,,0,,0,0,0,0,UP,20,1,0,0,1,3,0,,1,3,1,,35,,2,11,,20,L4OK,,"
    "0,0,30,0,0,3,0,,,,33,0,0,,,,,1,,,0,0,10,50,,,,Layer4 check passed,,2,2,3,,,,127.0.0.1:1899"
    "9,,http,,,,,,,,0,4,31,,,2,,0,0,11,58,0,0,2,2,3,20,,,,-,0,0,0,,,,,,,,,,,,,,,,,,,,,,\n"
    "web,web-2,0,0,0,0,2,0,0,0,,0,,0,0,0,0,DOWN,50,1,0,0,1,3,3,,1,3,2,,0,,2,0,,0,L4CON,,0,0,0,0"
    ",0,0,0,,,,0,0,0,,,,,-1,Connection refused,,0,0,0,0,,,,Layer4 connection problem,,2,2,0,,,,"
    "127.0.0.1:18991,,http,,,,,,,,0,0,0,,,0,,0,0,0,0,0,0,0,0,1,50,,,,-,0,0,0,,,,,,,,,,,,,,,,,,,"
    ",,,\n"
    "web,web-3,0,0,0,0,2,0,0,0,,0,,0,0,0,0,DRAIN,50,1,0,0,1,3,0,,1,3,3,,0,,2,0,,0,L4OK,,0,0,0,0"
    ",0,0,0,,,,0,0,0,,,,,-1,,,0,0,0,0,,,,Layer4 check passed,,2,2,3,,,,127.0.0.1:18999,,http,,,"
    ",,,,,0,0,0,,,0,,0,0,0,0,0,0,0,0,1,50,,,,-,0,0,0,,,,,,,,,,,,,,,,,,,,,,\n"
    "web,web-4,0,0,0,0,2,0,0,0,,0,,0,0,0,0,MAINT,50,1,0,0,2,3,3,,1,3,4,,0,,2,0,,0,,,,0,0,0,0,0,"
    "0,,,,0,0,0,,,,,-1,,,0,0,0,0,,,,,,,,,,,,127.0.0.1:18999,,http,,,,,,,,0,0,0,,,0,,0,0,0,0,0,0"
    ",0,0,1,50,,,,-,0,0,0,,,,,,,,,,,,,,,,,,,,,,\n"
    "web,web-5,0,0,0,0,,0,0,0,,0,,0,0,0,0,MAINT,1,1,0,,,3,,,1,3,5,,0,,2,0,,0,,,,0,0,0,0,0,0,,,,"
    "0,0,0,,,,,-1,,,0,0,0,0,,,,,,,,,,,,[::1]:80,,http,,,,,,,,0,0,0,,,0,0,0,0,0,0,0,0,0,0,0,1,,,"
    ",-,0,0,0,,,,,,,,,,,,,,,,,,,,,,\n"
    "\n";
/* `show servers state web` */
static const char server_states[] =
    "1\n"
    "# be_id be_name srv_id srv_name srv_addr srv_op_state srv_admin_state srv_uweight srv_iwei"
    "ght srv_time_since_last_change srv_check_status srv_check_result srv_check_health srv_chec"
    "k_state srv_agent_state bk_f_forced_id srv_f_forced_id srv_fqdn srv_port srvrecord srv_use"
    "_ssl srv_check_port srv_check_addr srv_agent_addr srv_agent_port\n"
    "3 web 1 web-1 127.0.0.1 2 0 20 50 3 6 3 3 6 0 0 0 - 18999 - 0 0 - - 0\n"
    "3 web 2 web-2 127.0.0.1 0 8 50 50 3 8 2 0 6 0 0 0 - 18991 - 0 0 - - 0\n"
    "3 web 3 web-3 127.0.0.1 2 8 50 50 3 6 3 3 6 0 0 0 - 18999 - 0 0 - - 0\n"
    "3 web 4 web-4 127.0.0.1 0 1 50 50 3 6 3 0 14 0 0 0 - 18999 - 0 0 - - 0\n"
    "3 web 5 web-5 ::1 0 1 1 1 3 1 0 0 2 0 0 0 - 80 - 0 0 - - 0\n"
    "\n";
static const char info[] =
    "Name: HAProxy\n"
    "Version: 2.6.12-1+deb12u4\n"
    "Release_date: 2026/10/17\n"
    "Nbthread: 2\n"
    "Nbproc: 1\n"
    "Process_num: 1\n"
    "Pid: 7525\n"
    "Uptime: 0d 0h00m02s\n"
    "Uptime_sec: 2\n"
    "Memmax_MB: 0\n"
    "PoolAlloc_MB: 0\n"
    "PoolUsed_MB: 0\n"
    "PoolFailed: 0\n"
    "Ulimit-n: 19999\n"
    "Maxsock: 19999\n"
    "Maxconn: 9985\n"
    "Hard_maxconn: 9985\n"
    "CurrConns: 6\n"
    "CumConns: 108\n"
    "CumReq: 49\n"
    "MaxSslConns: 0\n"
    "CurrSslConns: 0\n"
    "CumSslConns: 0\n"
    "Maxpipes: 0\n"
    "PipesUsed: 0\n"
    "PipesFree: 0\n"
    "ConnRate: 5\n"
    "ConnRateLimit: 0\n"
    "MaxConnRate: 7\n"
    "SessRate: 5\n"
    "SessRateLimit: 0\n"
    "MaxSessRate: 7\n"
    "SslRate: 0\n"
    "SslRateLimit: 0\n"
    "MaxSslRate: 0\n"
    "SslFrontendKeyRate: 0\n"
    "SslFrontendMaxKeyRate: 0\n"
    "SslFrontendSessionReuse_pct: 0\n"
    "SslBackendKeyRate: 0\n"
    "SslBackendMaxKeyRate: 0\n"
    "SslCacheLookups: 0\n"
    "SslCacheMisses: 0\n"
    "CompressBpsIn: 0\n"
    "CompressBpsOut: 0\n"
    "CompressBpsRateLim: 0\n"
    "Tasks: 36\n"
    "Run_queue: 0\n"
    "Idle_pct: 100\n"
    "node: vm\n"
    "Stopping: 0\n"
    "Jobs: 10\n"
    "Unstoppable Jobs: 1\n"
    "Listeners: 3\n"
    "ActivePeers: 0\n"
    "ConnectedPeers: 0\n"
    "DroppedLogs: 0\n"
    "BusyPolling: 0\n"
    "FailedResolutions: 0\n"
    "TotalBytesOut: 13648\n"
    "TotalSplicdedBytesOut: 0\n"
    "BytesOutRate: 7200\n"
    "DebugCommandsIssued: 0\n"
    "CumRecvLogs: 0\n"
    "Build info: 2.6.12-1+deb12u4\n"
    "Memmax_bytes: 0\n"
    "PoolAlloc_bytes: 228800\n"
    "PoolUsed_bytes: 228800\n"
    "Start_time_sec: 1795422267\n"
    "Tainted: 0\n"
    "\n";
/* clang-format on */

/* --- backends --------------------------------------------------------------------------------- */

static int poll_text(struct haproxy_stats *s, as_time now, const char *epoch, const char *text,
                     struct as_samples *out)
{
    struct haproxy_table table = { now, epoch, text, strlen(text) };
    struct haproxy_filter all = { 0 };
    size_t found;
    as_samples_fini(out);
    return haproxy_stats_add(s, &table, &all, &found, out, NULL);
}

static const struct as_sample *sample(const struct as_samples *s, const char *object, const char *series)
{
    for (size_t i = 0; i < s->count; i++)
        if (strcmp(s->items[i].object, object) == 0 && strcmp(s->items[i].series, series) == 0)
            return &s->items[i];
    return NULL;
}

static void expect(const struct as_samples *s, const char *object, const char *series, double value)
{
    const struct as_sample *found = sample(s, object, series);
    if (!found)
        fail_msg("no %s of %s", series, object);
    if (fabs(found->value - value) > 0.01)
        fail_msg("%s of %s is %g, not %g", series, object, found->value, value);
}

static void a_recorded_table_gives_what_is_known_at_the_first_poll(void **state)
{
    (void)state;
    struct haproxy_stats s = { 0 };
    struct as_samples out = { 0 };
    assert_int_equal(poll_text(&s, 1000, "1@1", backends, &out), AS_OK);
    expect(&out, "web", "sessions", 6);
    expect(&out, "web", "queue", 4);
    expect(&out, "web", "sessions_active", 2);
    expect(&out, "web", "servers_up", 1);
    expect(&out, "web", "sessions_per_server", 6);
    expect(&out, "web", "request_rate", 15); /* HAProxy's own, of the last second */
    expect(&out, "web", "response_time_ms", 10);
    assert_null(sample(&out, "web", "error_rate"));
    /* an empty backend says UP, and nobody is */
    expect(&out, "fixed", "servers_up", 0);
    assert_null(sample(&out, "fixed", "sessions_per_server"));
    assert_null(sample(&out, "fixed", "response_time_ms"));
    expect(&out, "plain", "servers_up", 1);
    as_samples_fini(&out);
    haproxy_stats_fini(&s);
}

static void every_series_given_is_in_the_table_of_series(void **state)
{
    (void)state;
    struct haproxy_stats s = { 0 };
    struct as_samples out = { 0 };
    assert_int_equal(poll_text(&s, 1000, "1@1", backends, &out), AS_OK);
    for (size_t i = 0; i < out.count; i++) {
        const struct as_series_doc *d = haproxy_series;
        while (d->name && strcmp(d->name, out.items[i].series) != 0)
            d++;
        assert_non_null(d->name);
    }
    as_samples_fini(&out);
    haproxy_stats_fini(&s);
}

/* A table of one backend, its columns in an order of our own. */
static const char *table(const char *mode, int stot, int errors, int done, int average)
{
    static char text[512];
    snprintf(text, sizeof text,
             "# rtime,mode,hrsp_5xx,pxname,req_tot,stot,type,qtime,ctime,rate,scur,eresp,econ\n"
             "%d,%s,%d,web,%d,%d,1,0,0,9,3,%d,%d\n",
             average, mode, errors, done, stot, errors, errors);
    return text;
}

static void rates_are_formed_between_polls_and_not_across_a_reset(void **state)
{
    (void)state;
    struct haproxy_stats s = { 0 };
    struct as_samples out = { 0 };
    poll_text(&s, 1000, "1@1", table("http", 100, 5, 100, 20), &out);
    poll_text(&s, 3000, "1@1", table("http", 160, 9, 150, 20), &out);
    expect(&out, "web", "request_rate", 30);
    expect(&out, "web", "error_rate", 2); /* failed connections end as 5xx: counted once */
    poll_text(&s, 5000, "1@1", table("http", 10, 0, 10, 20), &out); /* `clear counters all` */
    assert_null(sample(&out, "web", "request_rate"));
    assert_null(sample(&out, "web", "error_rate"));
    poll_text(&s, 7000, "2@9", table("http", 4000, 0, 4000, 20), &out); /* another process, already past it */
    expect(&out, "web", "request_rate", 9);
    assert_null(sample(&out, "web", "error_rate"));
    as_samples_fini(&out);
    haproxy_stats_fini(&s);
}

static void in_mode_tcp_errors_are_connections_and_there_are_no_times(void **state)
{
    (void)state;
    struct haproxy_stats s = { 0 };
    struct as_samples out = { 0 };
    poll_text(&s, 1000, "1@1", table("tcp", 100, 5, 100, 20), &out);
    poll_text(&s, 2000, "1@1", table("tcp", 160, 9, 150, 20), &out);
    expect(&out, "web", "request_rate", 60);
    expect(&out, "web", "error_rate", 8);
    assert_null(sample(&out, "web", "response_time_ms"));
    as_samples_fini(&out);
    haproxy_stats_fini(&s);
}

static void response_time_is_not_given_while_nothing_completes(void **state)
{
    (void)state;
    struct haproxy_stats s = { 0 };
    struct as_samples out = { 0 };
    poll_text(&s, 1000, "1@1", table("http", 100, 0, 100, 2003), &out);
    poll_text(&s, 2000, "1@1", table("http", 140, 0, 100, 2003), &out);
    assert_null(sample(&out, "web", "response_time_ms"));
    expect(&out, "web", "request_rate", 40);
    poll_text(&s, 3000, "1@1", table("http", 140, 0, 120, 2003), &out);
    assert_true(sample(&out, "web", "response_time_ms")->weight > 19.9);
    assert_true(sample(&out, "web", "response_time_ms")->weight < 20.1);
    as_samples_fini(&out);
    haproxy_stats_fini(&s);
}

/* HAProxy's running mean, as 2.6 forms it: plain until 512 requests, then a 512th of each further one. */
static double sum, requests;

static int average_after(int count, double ms)
{
    for (int i = 0; i < count; i++) {
        double n = fmin(requests, 512);
        sum = requests < 512 ? sum + ms : sum - sum / n + ms;
        requests++;
    }
    return (int)ceil(sum / fmin(requests, 512));
}

static double response_after(struct haproxy_stats *s, as_time now, int count, double ms)
{
    struct as_samples out = { 0 };
    int average = average_after(count, ms);
    assert_int_equal(poll_text(s, now, "1@1", table("http", (int)requests, 0, (int)requests, average), &out),
                     AS_OK);
    double value =
        sample(&out, "web", "response_time_ms") ? sample(&out, "web", "response_time_ms")->value : -1;
    as_samples_fini(&out);
    return value;
}

static void near(double got, double want, double share)
{
    if (fabs(got - want) > share * want)
        fail_msg("%g is not within %g%% of %g", got, share * 100, want);
}

static void response_time_is_that_of_the_latest_requests_not_of_the_last_512(void **state)
{
    (void)state;
    struct haproxy_stats s = { 0 };
    sum = requests = 0;
    response_after(&s, 1000, 300, 20);
    near(response_after(&s, 2000, 100, 400), 400, 0.02); /* while the mean is still a plain one */
    near(response_after(&s, 3000, 2000, 50), 50, 0.05);
    near(response_after(&s, 4000, 100, 300), 300, 0.13); /* HAProxy's own says 94 here */
    near(response_after(&s, 5000, 400, 30), 30, 0.13);   /* and 62 here */
    /* too few to tell from rounding: the last mean stands until more have come */
    double before = response_after(&s, 6000, 2, 30);
    near(before, 30, 0.13);
    haproxy_stats_fini(&s);
}

static void what_is_no_table_is_refused_and_what_is_missing_is_left_out(void **state)
{
    (void)state;
    static const char *const bad[] = { "", "\n", "hello\n", "# svname,scur\nx,1\n", "#pxname,scur\nx,1\n" };
    struct haproxy_stats s = { 0 };
    struct as_samples out = { 0 };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(poll_text(&s, 1, "1@1", bad[i], &out), AS_EPROTO);
    assert_int_equal(poll_text(&s, 1, "1@1", "# pxname,type\nweb,1\n", &out), AS_OK);
    assert_int_equal(out.count, 0);
    const char *mangled = "# pxname,type,scur,qcur,act,bck\nweb,1,-3,x,,\nb,1,nan,1e3,0x9,inf\nc,1,5\n,1,7\n"
                          "d\x01,1,8\ne,0,9\n\"f,g\",1,4\n\"open,1,6";
    assert_int_equal(poll_text(&s, 1, "1@1", mangled, &out), AS_OK);
    assert_int_equal(out.count, 2);
    expect(&out, "c", "sessions", 5);
    expect(&out, "f,g", "sessions", 4);
    as_samples_fini(&out);
    haproxy_stats_fini(&s);
}

static void a_huge_table_is_read_up_to_the_cap_and_a_larger_one_refused(void **state)
{
    (void)state;
    struct haproxy_stats s = { 0 };
    struct as_samples out = { 0 };
    size_t size = 1 << 20, len;
    char *text = malloc(size);
    assert_non_null(text);
    len = (size_t)snprintf(text, size, "# pxname,type,scur\n");
    for (int i = 0; i < 5000; i++)
        len += (size_t)snprintf(text + len, size - len, "b%d,1,%d\n", i, i);
    assert_int_equal(poll_text(&s, 1, "1@1", text, &out), AS_OK);
    assert_int_equal(out.count, 5000);
    assert_int_equal(poll_text(&s, 2, "1@1", text, &out), AS_OK);
    assert_int_equal(s.count, 5000); /* remembered once */
    len = (size_t)snprintf(text, size, "# pxname,type,scur\n");
    for (int i = 0; i < AS_SAMPLES_CAP + 1; i++)
        len += (size_t)snprintf(text + len, size - len, "b,1,%d\n", i);
    assert_int_equal(poll_text(&s, 3, "2@2", text, &out), AS_EPROTO);
    assert_int_equal(out.count, 0);
    free(text);
    as_samples_fini(&out);
    haproxy_stats_fini(&s);
}

static void a_backend_that_is_gone_is_forgotten(void **state)
{
    (void)state;
    struct haproxy_stats s = { 0 };
    struct as_samples out = { 0 };
    const char *both = "# pxname,type,stot\nold,1,100\nweb,1,10\n", *one = "# pxname,type,stot\nweb,1,30\n";
    assert_int_equal(poll_text(&s, 1000, "1@1", both, &out), AS_OK);
    assert_int_equal(s.count, 2);
    assert_int_equal(poll_text(&s, 2000, "1@1", one, &out), AS_OK);
    assert_int_equal(s.count, 1);
    expect(&out, "web", "request_rate", 20); /* what stays goes on */
    assert_int_equal(poll_text(&s, 3000, "1@1", both, &out), AS_OK);
    assert_null(sample(&out, "old", "request_rate"));
    as_samples_fini(&out);
    haproxy_stats_fini(&s);
}

/* --- servers ---------------------------------------------------------------------------------- */

static void recorded_servers_stand_where_haproxy_had_them(void **state)
{
    (void)state;
    static const struct {
        const char *id, *address;
        enum as_member_state state;
        int weight, port;
        bool healthy;
    } want[] = {
        { "web-1", "127.0.0.1", AS_MEMBER_UP, 20, 18999, true },
        { "web-2", "127.0.0.1", AS_MEMBER_DRAINING, 50, 18991, false }, /* its status says DOWN */
        { "web-3", "127.0.0.1", AS_MEMBER_DRAINING, 50, 18999, true },
        { "web-4", "127.0.0.1", AS_MEMBER_OUT, 50, 18999, false },
        { "web-5", "::1", AS_MEMBER_OUT, 1, 80, false },
    };
    struct haproxy_members t;
    struct haproxy_member m;
    assert_int_equal(
        haproxy_members_open(&t, servers, sizeof servers - 1, server_states, sizeof server_states - 1, NULL),
        AS_OK);
    for (size_t i = 0; i < sizeof want / sizeof *want; i++) {
        assert_true(haproxy_members_next(&t, &m));
        assert_string_equal(m.m.id, want[i].id);
        assert_string_equal(m.m.address, want[i].address);
        assert_int_equal(m.m.state, want[i].state);
        assert_int_equal(m.m.weight, want[i].weight);
        assert_int_equal(m.m.port, want[i].port);
        assert_int_equal(m.healthy, want[i].healthy);
    }
    assert_false(haproxy_members_next(&t, &m));
}

static enum as_member_state state_of(const char *status, const char *check, int health, int downs, int admin)
{
    char stat[200], state[200];
    struct haproxy_members t;
    struct haproxy_member m;
    snprintf(stat, sizeof stat,
             "# svname,type,status,scur,qcur,check_status,check_health,chkdown\nw,2,%s,2,1,%s,%d,%d\n",
             status, check, health, downs);
    snprintf(state, sizeof state, "1\n# srv_name srv_addr srv_port srv_admin_state\nother - 0 1\nw - 0 %d\n",
             admin);
    assert_int_equal(haproxy_members_open(&t, stat, strlen(stat), state, strlen(state), NULL), AS_OK);
    assert_true(haproxy_members_next(&t, &m));
    assert_true(m.m.held > 2.9 && m.m.held < 3.1); /* served, and waiting for this very server */
    assert_string_equal(m.m.address, "");
    return m.m.state;
}

static void down_is_told_from_not_yet_up(void **state)
{
    (void)state;
    assert_int_equal(state_of("DOWN", "INI", 0, 1, 0), AS_MEMBER_CHECKING);
    assert_int_equal(state_of("DOWN 1/2", "L7OK", 1, 1, 0), AS_MEMBER_CHECKING);
    assert_int_equal(state_of("DOWN", "* L7OK", 0, 3, 0), AS_MEMBER_CHECKING);
    assert_int_equal(state_of("DOWN", "L4CON", 0, 1, 0), AS_MEMBER_CHECKING); /* never was up */
    assert_int_equal(state_of("DOWN", "L4CON", 0, 2, 0), AS_MEMBER_DOWN);
    assert_int_equal(state_of("UP 1/2", "L7STS", 2, 0, 0), AS_MEMBER_UP);
    assert_int_equal(state_of("no check", "", 0, 0, 0), AS_MEMBER_UP);
    assert_int_equal(state_of("NOLB", "L7OK", 3, 0, 0), AS_MEMBER_DRAINING);
    assert_int_equal(state_of("MAINT (resolution)", "", 0, 0, 0x20), AS_MEMBER_OUT);
    assert_int_equal(state_of("UP", "L7OK", 3, 0, 0x08), AS_MEMBER_DRAINING);
    assert_int_equal(state_of("DRAIN", "L7OK", 3, 0, 0x09), AS_MEMBER_OUT);
}

static void a_name_too_long_to_be_ours_is_listed_marked(void **state)
{
    (void)state;
    char stat[300], name[121];
    struct haproxy_members t;
    struct haproxy_member m;
    memset(name, 'w', sizeof name - 1);
    name[sizeof name - 1] = '\0';
    snprintf(stat, sizeof stat, "# svname,type,status\n%s,2,UP\n", name);
    assert_int_equal(haproxy_members_open(&t, stat, strlen(stat), "# srv_name\n", 11, NULL), AS_OK);
    assert_true(haproxy_members_next(&t, &m));
    assert_int_equal(strlen(m.m.id), AS_ID_MAX - 1);
    assert_int_equal(m.m.id[AS_ID_MAX - 2], '~');
}

/* --- the socket's answers --------------------------------------------------------------------- */

static struct haproxy_reply reply_of(const char *text)
{
    struct haproxy_reply r = { .len = strlen(text), .memory = strdup(text) };
    r.text = r.memory;
    return r;
}

static void answers_are_told_apart_whatever_ends_them(void **state)
{
    (void)state;
    struct haproxy_reply r =
        reply_of("\nName: HAProxy\nPid: 7\n\n\n[3]: No such server.\n\n[6]: Server deleted.\n"
                 "[3]: No such backend.\n");
    static const char *const want[] = { "",
                                        "Name: HAProxy\nPid: 7",
                                        "",
                                        "[3]: No such server.",
                                        "[6]: Server deleted.",
                                        "[3]: No such backend." };
    for (size_t i = 0; i < sizeof want / sizeof *want; i++)
        assert_string_equal(haproxy_reply_take(&r, NULL), want[i]);
    assert_null(haproxy_reply_take(&r, NULL));
    haproxy_reply_fini(&r);
}

static void an_answer_that_was_cut_off_is_none(void **state)
{
    (void)state;
    static const char *const cut[] = { "# pxname,svname\nweb,a\nweb,b\n", "[3]: No such", "x", "# a\n" };
    for (size_t i = 0; i < sizeof cut / sizeof *cut; i++) {
        struct haproxy_reply r = reply_of(cut[i]);
        assert_null(haproxy_reply_take(&r, NULL));
        assert_null(haproxy_reply_take(&r, NULL));
        haproxy_reply_fini(&r);
    }
}

static void refusals_get_a_class_and_advice(void **state)
{
    (void)state;
    static const struct {
        const char *answer;
        enum as_rc rc;
    } want[] = {
        { "", AS_OK },
        { "[6]: New server registered.", AS_OK },
        { "[3]: Permission denied", AS_EAUTH },
        { "[3]: No such server.", AS_ENOENT },
        { "[3]: Already exists a server with the same name in backend.", AS_EEXIST },
        { "[3]: Server still has connections attached to it, cannot remove it.", AS_EAGAIN },
        { "[3]: This server cannot be removed at runtime due to other configuration elements pointing to it.",
          AS_EINVAL },
        { "[3]: something\nnew\x1b", AS_EINVAL },
        { "Unknown command: 'add'", AS_EUNSUP },
    };
    struct haproxy_cli c = { .endpoint = "/s" };
    struct as_error err;
    for (size_t i = 0; i < sizeof want / sizeof *want; i++) {
        assert_int_equal(haproxy_cli_judge(&c, "x", want[i].answer, &err), want[i].rc);
        assert_true(want[i].rc == AS_OK || !strpbrk(err.msg, "\n\x1b"));
    }
    assert_int_equal(haproxy_cli_judge(&c, "x", NULL, &err), AS_EUNKNOWN);
}

static void the_epoch_is_read_from_a_recorded_answer(void **state)
{
    (void)state;
    char epoch[48];
    bool stopping = true;
    assert_true(haproxy_epoch(info, epoch, sizeof epoch, &stopping));
    assert_false(stopping);
    assert_non_null(strchr(epoch, '@'));
    assert_true(strtol(epoch, NULL, 10) > 1);
    assert_true(haproxy_epoch("Pid: 12\nStopping: 1\nStart_time_sec: 99\n", epoch, sizeof epoch, &stopping));
    assert_true(stopping);
    assert_string_equal(epoch, "12@99");
    assert_false(haproxy_epoch("HTTP/1.0 400 Bad request", epoch, sizeof epoch, &stopping));
}

static void the_version_is_compared_number_by_number(void **state)
{
    (void)state;
    assert_true(haproxy_is_at_least(info, 2, 6));
    assert_true(haproxy_is_at_least("Name: HAProxy\nVersion: 2.10-dev3\n", 2, 6));
    assert_true(haproxy_is_at_least("Version: 3.0.1", 2, 6));
    assert_false(haproxy_is_at_least("Version: 2.5.14", 2, 6));
    assert_false(haproxy_is_at_least("Version: 1.8", 2, 6));
    assert_false(haproxy_is_at_least("Version: 3", 2, 6));
    assert_false(haproxy_is_at_least("Version: \nPid: 3.0", 2, 6));
    assert_false(haproxy_is_at_least("Name: HAProxy\n", 2, 6));
}

/* Of the tables of a backend `web`: what follows the header of each. */
static struct haproxy_members tables(const char *stat_rows, const char *state_rows)
{
    static char stat[300], state[300];
    struct haproxy_members t;
    snprintf(stat, sizeof stat, "# svname,type,status,algo\n%s", stat_rows);
    snprintf(state, sizeof state, "1\n# be_id be_name srv_name\n%s", state_rows);
    assert_int_equal(haproxy_members_open(&t, stat, strlen(stat), state, strlen(state), NULL), AS_OK);
    return t;
}

static void a_backend_behind_a_frontend_of_its_name_is_told_from_an_empty_one(void **state)
{
    (void)state;
    struct haproxy_members t = tables("", "7 web w1\n7 web w2\n");
    assert_true(haproxy_members_hidden(&t));
    assert_int_equal(haproxy_members_number(&t), 7);
    t = tables("", "");
    assert_false(haproxy_members_hidden(&t));
    assert_int_equal(haproxy_members_number(&t), 0);
    t = tables("w1,2,UP,\nBACKEND,1,UP,first\n", "7 web w1\n");
    assert_false(haproxy_members_hidden(&t));
    t = tables("", "-3 web w1\n");
    assert_false(haproxy_members_hidden(&t));
}

static void only_an_algorithm_that_is_dynamic_in_any_case_says_so(void **state)
{
    (void)state;
    static const char *const open[] = { "roundrobin", "leastconn", "first" };
    static const char *const unsure[] = { "static-rr", "source", "uri", "unknown", "" };
    char row[64];
    for (size_t i = 0; i < sizeof open / sizeof *open; i++) {
        snprintf(row, sizeof row, "w,2,UP,\nBACKEND,1,UP,%s\n", open[i]);
        struct haproxy_members t = tables(row, "");
        assert_true(haproxy_members_dynamic(&t));
    }
    for (size_t i = 0; i < sizeof unsure / sizeof *unsure; i++) {
        snprintf(row, sizeof row, "w,2,UP,first\nBACKEND,1,UP,%s\n", unsure[i]);
        struct haproxy_members t = tables(row, "");
        assert_false(haproxy_members_dynamic(&t));
    }
}

static void addresses_are_read_and_nonsense_is_refused(void **state)
{
    (void)state;
    static const char *const bad[] = { "",           "web",     ":80",    "host:", "host:0",
                                       "host:65536", "host:8x", "::1:99", "[::1]", "host:+8" };
    struct haproxy_cli c;
    assert_int_equal(haproxy_cli_init(&c, "/run/haproxy/admin.sock", NULL), AS_OK);
    assert_string_equal(c.at.path, "/run/haproxy/admin.sock");
    assert_int_equal(haproxy_cli_init(&c, "unix:/s", NULL), AS_OK);
    assert_string_equal(c.at.path, "/s");
    assert_int_equal(haproxy_cli_init(&c, "[::1]:9999", NULL), AS_OK);
    assert_string_equal(c.at.host, "::1");
    assert_int_equal(c.at.port, 9999);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(haproxy_cli_init(&c, bad[i], NULL), AS_EINVAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_recorded_table_gives_what_is_known_at_the_first_poll),
        cmocka_unit_test(every_series_given_is_in_the_table_of_series),
        cmocka_unit_test(rates_are_formed_between_polls_and_not_across_a_reset),
        cmocka_unit_test(in_mode_tcp_errors_are_connections_and_there_are_no_times),
        cmocka_unit_test(response_time_is_not_given_while_nothing_completes),
        cmocka_unit_test(response_time_is_that_of_the_latest_requests_not_of_the_last_512),
        cmocka_unit_test(what_is_no_table_is_refused_and_what_is_missing_is_left_out),
        cmocka_unit_test(a_huge_table_is_read_up_to_the_cap_and_a_larger_one_refused),
        cmocka_unit_test(a_backend_that_is_gone_is_forgotten),
        cmocka_unit_test(recorded_servers_stand_where_haproxy_had_them),
        cmocka_unit_test(down_is_told_from_not_yet_up),
        cmocka_unit_test(a_name_too_long_to_be_ours_is_listed_marked),
        cmocka_unit_test(answers_are_told_apart_whatever_ends_them),
        cmocka_unit_test(an_answer_that_was_cut_off_is_none),
        cmocka_unit_test(refusals_get_a_class_and_advice),
        cmocka_unit_test(the_epoch_is_read_from_a_recorded_answer),
        cmocka_unit_test(the_version_is_compared_number_by_number),
        cmocka_unit_test(a_backend_behind_a_frontend_of_its_name_is_told_from_an_empty_one),
        cmocka_unit_test(only_an_algorithm_that_is_dynamic_in_any_case_says_so),
        cmocka_unit_test(addresses_are_read_and_nonsense_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
