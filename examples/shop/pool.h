/* The shop's connections to PostgreSQL.
 *
 * A fixed number of connections, opened and kept open by one keeper thread; workers borrow one per order. The pool
 * opens even while the database is away: the keeper goes on trying, orders are refused until it succeeds. */
#ifndef SHOP_POOL_H
#define SHOP_POOL_H

#include "orderform.h"

#include <stdbool.h>

#define POOL_MAX 64

enum pool_result {
    POOL_STORED,
    POOL_UNAVAILABLE, /* no connection in time: the order was not stored */
    POOL_UNKNOWN,     /* the connection was lost with the order on its way: it may have been stored */
    POOL_REFUSED,     /* the database said no: not stored */
};

struct pool;

/* Copies its arguments. `password_file` may be NULL; it is read again at each connect. NULL, with a sentence in
 * `err`, when the conninfo is malformed, holds a password, or memory or threads are short. Owned: pool_close. */
struct pool *pool_open(const char *conninfo, const char *password_file, int size, char *err, size_t err_size);
void pool_close(struct pool *p);

/* Blocks up to a few seconds; any thread. */
enum pool_result pool_store(struct pool *p, const struct order *order, int64_t *order_id);

/* True when the database has answered within the last few seconds. Any thread, never blocks on the database. */
bool pool_ready(struct pool *p);

#endif
