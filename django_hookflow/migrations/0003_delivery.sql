-- What is due, and who is at work.
--
-- The outbox holds, for every run that will go on by itself, one row: the turn that has been announced and has not
-- ended. The row is written by the transaction that made the turn necessary and goes with the transaction that ends
-- the turn, so a message that is lost, or a worker that dies, leaves a row that comes due again. A run whose end concerns
-- others has a row of the kind 'ended', which goes with the transaction that acts on it last. Losing a lease is
-- harmless: it only keeps a second worker from starting too early. What refuses a late append is the head's fence.

CREATE TABLE django_hookflow_outbox (
  id           bigint GENERATED ALWAYS AS IDENTITY,
  run_uid      uuid        NOT NULL,
  seq          integer     NOT NULL,    -- how long the log was when the turn was announced; the message carries it
  kind         varchar(20) NOT NULL DEFAULT 'turn',
  due_at       timestamptz,             -- the turn does not begin before; null: it may begin at once, by whatever clock
  announced_at timestamptz NOT NULL,    -- later than now, it shows that the clock has gone back since
  send_at      timestamptz NOT NULL,    -- a relay sends it (again) from then on
  attempts     integer     NOT NULL DEFAULT 0,
  turn_seq     integer,                 -- seq of the turn.started that took it up; null until then
  CONSTRAINT django_hookflow_outbox_pk PRIMARY KEY (id),
  CONSTRAINT django_hookflow_outbox_one_turn_a_run UNIQUE (run_uid, kind)
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.02);
CREATE INDEX django_hookflow_outbox_next ON django_hookflow_outbox (send_at);
-- Runs that have not begun, which are not to wait behind all others.
CREATE INDEX django_hookflow_outbox_new ON django_hookflow_outbox (send_at) WHERE seq = 1;

CREATE UNLOGGED TABLE django_hookflow_lease (
  run_uid    uuid        NOT NULL,
  token      bigint      NOT NULL,      -- seq of the turn.started it belongs to
  owner      text        NOT NULL,
  renewed_at timestamptz NOT NULL,      -- later than now, the clock has gone back and the lease says nothing
  expires_at timestamptz NOT NULL,
  CONSTRAINT django_hookflow_lease_pk PRIMARY KEY (run_uid)
) WITH (fillfactor = 70);
