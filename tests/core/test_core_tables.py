import duckdb
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from claude_batch_dagster.core.tables import MAX_NAME_BYTES, TableName, listed, quoted
from claude_batch_dagster.errors import ConfigurationError

DATABASE = duckdb.connect()
NAMES = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), min_size=1, max_size=60)


@given(name=NAMES)
@example(name='x"; DROP TABLE t; --')
@example(name='"')
@example(name='""')
@example(name="select")
@example(name="a.b")
@example(name="é\n\t'$1 ? {x} %s \u2028")
@example(name="x" * MAX_NAME_BYTES)
def test_f119_any_name_of_table_and_column_comes_back_from_duckdb(name: str) -> None:
    """A quoted name stands for itself and for nothing else."""
    with DATABASE.cursor() as connection:
        connection.execute("DROP SCHEMA IF EXISTS s CASCADE; CREATE SCHEMA s")
        connection.execute(f"CREATE TABLE {TableName('s', name).sql} ({quoted(name)} INTEGER)")
        tables = connection.execute("SELECT table_name FROM duckdb_tables()").fetchall()
        columns = connection.execute(f"DESCRIBE {TableName('s', name).sql}").fetchall()

    assert (tables, columns[0][0]) == ([(name,)], name)


@pytest.mark.parametrize("name", ["", "a\x00b", "x" * (MAX_NAME_BYTES + 1), "é" * 128, "\ud83d" * 86])
def test_f119_what_can_be_no_name_is_refused(name: str) -> None:
    """Empty names, NUL, and more than 255 bytes."""
    with pytest.raises(ConfigurationError, match="cannot be the name of a table or column"):
        quoted(name)


def test_names_are_listed_behind_their_table() -> None:
    """Several names are quoted one by one."""
    assert (listed(["a", 'b"'], "u."), str(TableName("s", "t"))) == ('u."a", u."b"""', "s.t")
