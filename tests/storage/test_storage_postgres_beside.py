"""The ledger beside others on a Postgres server: Dagster in the same database, poolers, restarts, few rights."""

import shutil
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace

import pytest
import sqlalchemy as sa

from claude_batch_dagster.core.ledger import State
from claude_batch_dagster.core.tables import literal
from claude_batch_dagster.errors import LedgerError
from claude_batch_dagster.storage.ledger import postgres
from claude_batch_dagster.storage.ledger.locks import AdvisoryLocks, key_of
from claude_batch_dagster.storage.ledger.sql_ledger import SqlLedger
from claude_batch_dagster.storage.ledger.view import LedgerView
from tests.core.clocks import Waking
from tests.core.world import World
from tests.storage.postgres_server import PostgresServer

pytestmark = [
    pytest.mark.verify,
    pytest.mark.skipif(not PostgresServer.is_there(), reason="needs a Postgres server (initdb on the PATH)"),
]

DAGSTERS = "29b539ebc72a"
"""A revision of Dagster's own tables."""

TABLES = sorted(postgres.TABLES - {"rows"})
"""Those that a ledger of today has."""

OURS = (
    "SELECT table_schema, count(*) FROM information_schema.tables "  # noqa: S608  (names of ours)
    f"WHERE table_name IN ({', '.join(map(literal, TABLES))}) GROUP BY table_schema"
)
"""How many tables are called like those of a ledger, by schema."""

BESIDE = (
    "CREATE TABLE alembic_version (version_num VARCHAR)",
    f"INSERT INTO alembic_version VALUES ('{DAGSTERS}')",  # noqa: S608  (a constant)
)
"""What Dagster has in the database."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresServer]:
    """Return a server of our own."""
    with PostgresServer.at(tmp_path_factory.mktemp("pg")) as running:
        yield running


@pytest.fixture(autouse=True)
def empty(server: PostgresServer) -> None:
    """Begin with an empty database."""
    server.sql("DROP SCHEMA IF EXISTS claude_batch CASCADE", "DROP SCHEMA public CASCADE", "CREATE SCHEMA public")


@pytest.fixture
def on_server(server: PostgresServer) -> Iterator[SqlLedger]:
    """Return an empty ledger on the server."""
    ledger = SqlLedger(server.url)
    yield ledger
    ledger.dispose()


# --- whose tables are whose ---------------------------------------------------------------------------


def test_it_shares_a_database_with_others(server: PostgresServer) -> None:
    """Dagster's upgrades have a table of the same name: neither sees the other's, whoever comes first."""
    server.sql(*BESIDE)

    ledger = SqlLedger(server.url)
    ledger.dispose()

    assert server.sql("SELECT version_num FROM public.alembic_version") == [(DAGSTERS,)]
    assert server.sql("SELECT table_name FROM information_schema.tables WHERE table_schema = 'public'") == [
        ("alembic_version",)
    ]
    assert server.sql(OURS + " HAVING count(*) > 1") == [("claude_batch", 7)]


@pytest.mark.parametrize("usual", ["public", "team"])
def test_a_ledger_of_an_earlier_version_moves(server: PostgresServer, usual: str) -> None:
    """It lay where the user's tables lie by default; it is looked at there, and moved when it is opened."""
    ledger = SqlLedger(server.url)
    ledger_id = ledger.ledger_id
    ledger.dispose()
    server.sql("CREATE SCHEMA IF NOT EXISTS team", f"ALTER ROLE ledger SET search_path = {usual}")
    for name in TABLES:
        server.sql(f"ALTER TABLE claude_batch.{name} SET SCHEMA {usual}")
    server.sql("DROP SCHEMA claude_batch CASCADE")

    view = LedgerView(server.url)
    seen = view.condition()
    view.dispose()
    moved = SqlLedger(server.url)

    assert (seen.ledger_id, moved.ledger_id) == (ledger_id, ledger_id)
    assert server.sql(OURS) == [("claude_batch", 7)]
    moved.dispose()
    server.sql("ALTER ROLE ledger RESET search_path", "DROP SCHEMA team CASCADE")


def test_tables_of_others_stay_where_they_are(server: PostgresServer) -> None:
    """Another application has tables of such names, and counts its revisions as we do: they are not taken for ours."""
    server.sql(BESIDE[0], "INSERT INTO alembic_version VALUES ('0005')")
    for name in ("events", "identity", "chunks", "spend"):
        server.sql(f"CREATE TABLE {name} (id INT)")

    SqlLedger(server.url).dispose()

    assert sorted(server.sql(OURS)) == [("claude_batch", 7), ("public", 5)]


def test_two_ledgers_are_not_made_one(server: PostgresServer) -> None:
    """Where an earlier version kept a second ledger in a schema of its own, nothing is opened in its place."""
    SqlLedger(server.url).dispose()
    server.sql("ALTER SCHEMA claude_batch RENAME TO team", "ALTER ROLE ledger SET search_path = other")
    SqlLedger(server.url).dispose()
    server.sql("ALTER ROLE ledger SET search_path = team")
    try:
        for opened in (SqlLedger, LedgerView):
            with pytest.raises(
                LedgerError, match="one in the schema claude_batch, and one of an earlier version in team"
            ):
                opened(server.url)
    finally:
        server.sql("ALTER ROLE ledger RESET search_path", "DROP SCHEMA team CASCADE")


def test_a_look_at_no_ledger_says_so(server: PostgresServer) -> None:
    """Other tables are no ledger, whatever they are called; looking makes none."""
    server.sql(*BESIDE)

    with pytest.raises(LedgerError, match="its tables are missing"):
        LedgerView(server.url)
    assert server.sql(OURS) == [("public", 1)]


def test_without_the_right_to_make_a_schema(server: PostgresServer) -> None:
    """The error says what somebody with more rights is to say; then it works."""
    server.sql("DROP ROLE IF EXISTS guest", "CREATE ROLE guest LOGIN")
    url = server.url.replace("ledger@", "guest@")

    with pytest.raises(LedgerError, match="CREATE SCHEMA claude_batch AUTHORIZATION guest") as caught:
        SqlLedger(url)

    server.sql(str(caught.value).partition("may say: ")[2])
    SqlLedger(url).dispose()
    assert server.sql(OURS) == [("claude_batch", 7)]


def test_a_url_without_a_driver(server: PostgresServer, world: World) -> None:
    """`postgresql://` is enough, whatever this version of SQLAlchemy makes of it."""
    ledger = SqlLedger(server.url.replace("+psycopg", ""))

    assert ledger.chunks(world.engine().task.pipeline, State) == []
    ledger.dispose()


# --- servers that restart -----------------------------------------------------------------------------


def test_a_waiting_run_survives_a_restart(server: PostgresServer, on_server: SqlLedger, world: World) -> None:
    """The server restarts while Claude works: the run goes on with new connections, and nothing is sent again."""
    world.documents({n: f"war and peace {n}" for n in range(4)})
    there = replace(world, ledger=on_server)

    def restart() -> None:
        server.stop()
        server.start()

    report = there.run(clock=Waking(there.clock, restart))

    assert (report.failure, there.states(), there.n_billed) == (None, [State.APPLIED], [1] * 4)


def test_a_server_that_comes_back_is_waited_for(server: PostgresServer, on_server: SqlLedger) -> None:
    """Whoever asks while it is away gets the answer when it is back."""
    assert on_server.pipelines() == []
    server.stop()
    found: list[object] = []
    asking = threading.Thread(target=lambda: found.append(on_server.pipelines()))
    asking.start()
    asking.join(timeout=1.0)
    waited = asking.is_alive()
    server.start()
    asking.join(timeout=60.0)

    assert (waited, found) == (True, [[]])


def test_patience_has_an_end(server: PostgresServer) -> None:
    """A server that stays away is an error; nobody waits for one that never worked."""
    ledger = SqlLedger(server.url, busy_seconds=1)
    server.stop()
    try:
        with pytest.raises(LedgerError, match="the ledger does not work"):
            ledger.pipelines()
        with pytest.raises(LedgerError, match="the ledger does not work"):
            SqlLedger(server.url)
    finally:
        ledger.dispose()
        server.start()


# --- poolers ------------------------------------------------------------------------------------------


@pytest.mark.skipif(shutil.which("pgbouncer") is None, reason="needs PgBouncer")
def test_runs_behind_a_pooler_that_hands_sessions_on(server: PostgresServer, world: World) -> None:
    """In transaction mode nothing of a session is kept: runs work all the same, and no lock stays behind."""
    with server.pooler(size=3):
        for n in range(7):
            world.documents({n: f"war and peace {n}"})
            ledger = SqlLedger(server.pooled_url)
            report = replace(world, ledger=ledger).run()
            ledger.dispose()
            assert (report.failure, report.n_sent) == (None, 1)
            assert server.sql("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'") == [(0,)]


@pytest.mark.skipif(shutil.which("pgbouncer") is None, reason="needs PgBouncer")
@pytest.mark.usefixtures("on_server")
def test_looks_behind_a_pooler(server: PostgresServer) -> None:
    """Two that look, again and again, through the same few sessions."""
    with server.pooler(size=2):
        views = [LedgerView(server.pooled_url) for _ in range(2)]
        for _ in range(20):
            assert [view.sightings() for view in views] == [[], []]
        for view in views:
            view.dispose()


@pytest.mark.skipif(shutil.which("pgbouncer") is None, reason="needs PgBouncer")
def test_a_lock_behind_a_pooler_is_a_lock(server: PostgresServer) -> None:
    """Of two that hold one name one at a time goes on, however few sessions they share; a cut one lets the other in."""
    inside, most, wrong = 0, 0, list[int]()
    locks = AdvisoryLocks(sa.create_engine(server.pooled_url, connect_args={"prepare_threshold": None}))

    def work() -> None:
        nonlocal inside, most
        for _ in range(5):
            with locks.hold("pipeline"):
                inside += 1
                most = max(most, inside)
                if inside > 1:
                    wrong.append(inside)
                inside -= 1

    with server.pooler(size=4):
        threads = [threading.Thread(target=work) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(timeout=60.0)
        locks.engine.dispose()

    assert (most, wrong) == (1, [])


@pytest.mark.skipif(shutil.which("pgbouncer") is None, reason="needs PgBouncer")
def test_many_locks_of_one_thread_are_one_session(server: PostgresServer) -> None:
    """A pooler that lends two sessions lets one land that takes ten locks, and looks into the ledger meanwhile."""
    names = [f"collect {n}" for n in range(10)]
    free = [f"SELECT pg_try_advisory_xact_lock({key_of(name)})" for name in names]
    with server.pooler(size=2):
        ledger = SqlLedger(server.pooled_url)
        locks = AdvisoryLocks(sa.create_engine(server.pooled_url, connect_args={"prepare_threshold": None}))
        with ExitStack() as held:
            for name in names:
                held.enter_context(locks.hold(name))
            assert ledger.pipelines() == []
            assert [server.sql(query) for query in free] == [[(False,)]] * 10
        assert [server.sql(query) for query in free] == [[(True,)]] * 10
        ledger.dispose()
        locks.engine.dispose()


def test_a_server_that_ends_idle_transactions_leaves_locks_alone(server: PostgresServer) -> None:
    """A lock is a transaction that does nothing for a while: the limit for such ones is not its limit."""
    engine = sa.create_engine(server.url, connect_args={"options": "-c idle_in_transaction_session_timeout=100"})
    held = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'"
    with AdvisoryLocks(engine).hold("pipeline"):
        server.sql("SELECT pg_sleep(0.5)")
        assert server.sql(held) == [(1,)]
    assert server.sql(held) == [(0,)]
    engine.dispose()
