/* Every driver of the program on one page. A new driver is one extern line and one line in its table;
 * nothing else in the program names a driver. */

#include "autoscale/registry.h"

extern const struct as_source_driver as_source_haproxy;
extern const struct as_source_driver as_source_nginx;
extern const struct as_source_driver as_source_mariadb;
extern const struct as_source_driver as_source_postgresql;
extern const struct as_source_driver as_source_redis;
extern const struct as_source_driver as_source_prometheus;
extern const struct as_source_driver as_source_docker;
extern const struct as_source_driver as_source_libvirt;
extern const struct as_source_driver as_source_http;
extern const struct as_source_driver as_source_exec;
extern const struct as_source_driver as_source_probe;
extern const struct as_compute_driver as_compute_docker;
extern const struct as_compute_driver as_compute_libvirt;
extern const struct as_compute_driver as_compute_process;
extern const struct as_balancer_driver as_balancer_haproxy;
extern const struct as_balancer_driver as_balancer_nginx;

const struct as_source_driver *const as_source_drivers[] = {
    &as_source_haproxy, &as_source_nginx,      &as_source_mariadb, &as_source_postgresql,
    &as_source_redis,   &as_source_prometheus, &as_source_docker,  &as_source_libvirt,
    &as_source_http,    &as_source_exec,       &as_source_probe,   NULL,
};

const struct as_compute_driver *const as_compute_drivers[] = {
    &as_compute_docker,
    &as_compute_libvirt,
    &as_compute_process,
    NULL,
};

const struct as_balancer_driver *const as_balancer_drivers[] = {
    &as_balancer_haproxy,
    &as_balancer_nginx,
    NULL,
};
