-- The shop's only table. Run it as the owner of the database; the shop's role may insert and read back the new id.
create table orders (
    id         bigint generated always as identity primary key,
    user_id    bigint  not null check (user_id > 0),
    product_id bigint  not null check (product_id > 0),
    quantity   integer not null check (quantity between 1 and 1000),
    ordered_at timestamptz not null default now()
);
grant insert, select (id) on orders to shop;
