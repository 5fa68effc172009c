-- Roles for a journal on Postgres: who may do what, enforced by the database and not by good manners.
--
--   ledger_owner   migrates: owns the tables, runs ledger init and nothing else
--   ledger_writer  engines, imports, syncs: reads, appends events, moves heads on, replaces the sync health; can change or remove
--                  nothing that is recorded
--   ledger_reader  reports, verification, replays: reads
--
-- Nobody logs in as these: they are groups. Give people and programs roles of their own that are members. Run this file as a
-- superuser in the journal's database, once before ledger init and again after each migration:
--
--   createdb -E UTF8 -T template0 desk
--   psql -d desk -f deploy/postgres-roles.sql
--   psql -d desk -c "CREATE ROLE migrator LOGIN PASSWORD '...' IN ROLE ledger_owner"
--   psql -d desk -c "CREATE ROLE engine LOGIN PASSWORD '...' IN ROLE ledger_writer"
--   psql -d desk -c "CREATE ROLE auditor LOGIN PASSWORD '...' IN ROLE ledger_reader"
--   ledger init --journal postgresql+psycopg://migrator:...@host/desk
--   psql -d desk -f deploy/postgres-roles.sql
--
-- Engines then open postgresql+psycopg://engine:...@host/desk. The second run gives the tables to the group, so that any of its
-- members can migrate the next time, and grants what the others may do.

DO $$
DECLARE
    wanted text;
BEGIN
    FOREACH wanted IN ARRAY ARRAY['ledger_owner', 'ledger_writer', 'ledger_reader'] LOOP
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = wanted) THEN
            EXECUTE format('CREATE ROLE %I', wanted);
        END IF;
    END LOOP;
END
$$;

REVOKE CREATE ON SCHEMA public FROM PUBLIC;
GRANT USAGE, CREATE ON SCHEMA public TO ledger_owner;
GRANT USAGE ON SCHEMA public TO ledger_writer, ledger_reader;

DO $$
DECLARE
    kept text;
BEGIN
    IF to_regclass('public.events') IS NULL THEN
        RAISE NOTICE 'no journal here yet: run ledger init as a member of ledger_owner, then this file again';
        RETURN;
    END IF;
    -- Whoever ran ledger init made them: they are the group's.
    FOREACH kept IN ARRAY ARRAY[
        'accounts', 'heads', 'events', 'evidence', 'identity', 'parents', 'seals', 'checkpoints', 'alembic_version'
    ] LOOP
        EXECUTE format('ALTER TABLE %I OWNER TO ledger_owner', kept);
    END LOOP;
    -- Partitions are tables, too: a migration of the whole needs to own them. Nobody needs rights of their own on one, as rights
    -- to the whole are enough for whoever asks it; the whole is what triggers, backups and checks are made for.
    FOR kept IN
        SELECT inhrelid::regclass::text FROM pg_inherits
        WHERE inhparent IN (to_regclass('public.events'), to_regclass('public.evidence'), to_regclass('public.checkpoints'))
            AND (SELECT relkind = 'p' FROM pg_class WHERE oid = inhparent)
    LOOP
        EXECUTE format('ALTER TABLE %s OWNER TO ledger_owner', kept);
        EXECUTE format('REVOKE ALL ON %s FROM PUBLIC, ledger_writer, ledger_reader', kept);
    END LOOP;
    ALTER FUNCTION ledger_refuse() OWNER TO ledger_owner;
    ALTER FUNCTION ledger_only_forward() OWNER TO ledger_owner;
    -- What is recorded: the writer adds to it.
    FOREACH kept IN ARRAY ARRAY['accounts', 'events', 'evidence', 'seals'] LOOP
        EXECUTE format('REVOKE ALL ON %I FROM PUBLIC, ledger_writer, ledger_reader', kept);
        EXECUTE format('GRANT SELECT, INSERT ON %I TO ledger_writer', kept);
        EXECUTE format('GRANT SELECT ON %I TO ledger_reader', kept);
    END LOOP;
    -- Which journals an account was in before: added to when one moves to here.
    IF to_regclass('public.origins') IS NOT NULL THEN
        ALTER TABLE origins OWNER TO ledger_owner;
        REVOKE ALL ON origins FROM PUBLIC, ledger_writer, ledger_reader;
        GRANT SELECT, INSERT ON origins TO ledger_writer;
        GRANT SELECT ON origins TO ledger_reader;
    END IF;
    -- The one row per account that an append locks and moves on; a trigger lets it go forward only.
    REVOKE ALL ON heads FROM PUBLIC, ledger_writer, ledger_reader;
    GRANT SELECT, INSERT, UPDATE ON heads TO ledger_writer;
    GRANT SELECT ON heads TO ledger_reader;
    -- Disposable: they make replays short and are never trusted over the journal.
    REVOKE ALL ON checkpoints FROM PUBLIC, ledger_writer, ledger_reader;
    GRANT SELECT, INSERT, DELETE ON checkpoints TO ledger_writer;
    GRANT SELECT ON checkpoints TO ledger_reader;
    -- How the last sync of each account ended: replaced every time, no event.
    IF to_regclass('public.sync_health') IS NOT NULL THEN
        ALTER TABLE sync_health OWNER TO ledger_owner;
        REVOKE ALL ON sync_health FROM PUBLIC, ledger_writer, ledger_reader;
        GRANT SELECT, INSERT, UPDATE ON sync_health TO ledger_writer;
        GRANT SELECT ON sync_health TO ledger_reader;
    END IF;
    -- How the last verification, seal and backup ended: replaced every time, no event.
    IF to_regclass('public.upkeep') IS NOT NULL THEN
        ALTER TABLE upkeep OWNER TO ledger_owner;
        REVOKE ALL ON upkeep FROM PUBLIC, ledger_writer, ledger_reader;
        GRANT SELECT, INSERT, UPDATE ON upkeep TO ledger_writer;
        GRANT SELECT ON upkeep TO ledger_reader;
    END IF;
    -- What each account was worth, sample by sample: no events, and old ones are deleted.
    IF to_regclass('public.marks') IS NOT NULL THEN
        ALTER TABLE marks OWNER TO ledger_owner;
        REVOKE ALL ON marks FROM PUBLIC, ledger_writer, ledger_reader;
        GRANT SELECT, INSERT, UPDATE, DELETE ON marks TO ledger_writer;
        GRANT SELECT ON marks TO ledger_reader;
    END IF;
    -- What answers are read from: equity of all marks, notices that were sent, the derived tables; and the leases of workers.
    -- No events, and made again or replaced.
    FOREACH kept IN ARRAY ARRAY[
        'equity_minute', 'equity_day', 'sent_notices', 'followers', 'summaries', 'open_positions', 'closed_trades', 'bookings',
        'balance_curve', 'fleet_gateways', 'fleet_leases'
    ] LOOP
        IF to_regclass('public.' || kept) IS NOT NULL THEN
            EXECUTE format('ALTER TABLE %I OWNER TO ledger_owner', kept);
            EXECUTE format('REVOKE ALL ON %I FROM PUBLIC, ledger_writer, ledger_reader', kept);
            EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON %I TO ledger_writer', kept);
            EXECUTE format('GRANT SELECT ON %I TO ledger_reader', kept);
        END IF;
    END LOOP;
    -- Views for people and tools that speak SQL. They read with the rights of the group that owns them.
    FOREACH kept IN ARRAY ARRAY[
        'v_accounts', 'v_events', 'v_deals', 'v_cash', 'v_breaks', 'v_incidents', 'v_sync_health', 'v_marks', 'v_equity_day',
        'v_positions', 'v_balances', 'v_trades', 'v_balance_curve'
    ] LOOP
        IF to_regclass('public.' || kept) IS NOT NULL THEN
            EXECUTE format('ALTER VIEW %I OWNER TO ledger_owner', kept);
            EXECUTE format('REVOKE ALL ON %I FROM PUBLIC, ledger_writer, ledger_reader', kept);
            EXECUTE format('GRANT SELECT ON %I TO ledger_writer, ledger_reader', kept);
        END IF;
    END LOOP;
    -- What it is, where it came from, and which schema it has.
    FOREACH kept IN ARRAY ARRAY['identity', 'parents', 'alembic_version'] LOOP
        EXECUTE format('REVOKE ALL ON %I FROM PUBLIC, ledger_writer, ledger_reader', kept);
        EXECUTE format('GRANT SELECT ON %I TO ledger_writer, ledger_reader', kept);
    END LOOP;
END
$$;
