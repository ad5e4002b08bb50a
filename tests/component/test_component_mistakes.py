"""What is wrong in the YAML is refused when it is loaded, with the line or the path, and what to write."""

import re
from collections.abc import Callable

import dagster as dg
import pytest

from tests.component.conftest import Loaded

LABELED = """\
type: claude_batch_dagster.ClaudeBatchComponent
attributes:
  name: answers
  upstream: tickets
  ask:
    labels:
      billing: invoices
      other: the rest
"""
ASKED = """\
type: claude_batch_dagster.ClaudeBatchComponent
attributes:
  name: answers
  upstream: tickets
  ask:
    prompt: "{text}"
    output: {summary: string}
"""
SECRET = "sk-ant-api03-abcdefghijklmnopqrstuvwxyz"

# What is planted, the line that is named (None: the path of the file), and what is said.
MISTAKES = {
    "a key that there is not": (LABELED + "  labelz: {}\n", 9, "labelz"),
    "a key that there is not in ask": (LABELED.replace("labels", "lables"), 5, "lables"),
    "a number in place of a text": (LABELED.replace("tickets", "5"), 4, "valid string"),
    "nothing asked": (LABELED.partition("  ask")[0], 2, "attributes.ask"),
    "one label": (LABELED.replace("      other: the rest\n", ""), 6, "at least two labels"),
    "labels that differ in case": (LABELED.replace("other", "Billing"), 6, "differ in more than case"),
    "a label that YAML takes for a flag": (LABELED.replace("other", "yes"), 5, "valid string"),
    "labels and a prompt": (LABELED + '    prompt: "{text}"\n', 5, "Leave out one or the other"),
    "confidences without labels": (ASKED + "    confidences: true\n", 5, "which come with labels"),
    "a prompt without an output": (ASKED.partition("    output")[0], 5, "needs labels, or a prompt and an output"),
    "a prompt without a column": (ASKED.replace("{text}", "Hello"), 6, "names no column"),
    "a prompt in a file that is not there": (ASKED.replace('"{text}"', "{path: no.md}"), 6, "No such file"),
    "a prompt function that is not there": (ASKED.replace('"{text}"', "{function: json.nothing}"), 6, "has no nothing"),
    "a system prompt in a file that is not there": (ASKED + "    system: {path: no.md}\n", 8, "No such file"),
    "a type that there is not": (ASKED.replace(": string", ": text"), 5, "'string', 'integer'"),
    "a model that is not there": (ASKED.replace("{summary: string}", "nowhere.Ticket"), 7, "no module nowhere"),
    "a model that is none": (ASKED.replace("{summary: string}", "json.dumps"), 7, "no pydantic model, but function"),
    "a model without its module": (ASKED.replace("{summary: string}", "Ticket"), 7, "my_project.models.Ticket"),
    "a field that is no name": (ASKED.replace("summary", "a summary"), 7, "cannot be the name of a field"),
    "one choice": (ASKED.replace("string", "{choices: [low]}"), 7, "choices are two or more"),
    "choices that differ in case": (ASKED.replace("string", "{choices: [low, Low]}"), 7, "differ in more than case"),
    "choices of a number": (ASKED.replace("string", "{type: integer, choices: ['1', '2']}"), 7, "choices are texts"),
    "an object without fields": (ASKED.replace("string", "{type: object}"), 7, "an object has fields"),
    "items of a text": (ASKED.replace("string", "{items: string}"), 7, "items are of a list"),
    "a field that is a column of ours": (ASKED.replace("summary", "status"), None, "the bookkeeping column 'status'"),
    "a field that is the key": (ASKED.replace("summary", "id"), None, "collides"),
    "no money": (LABELED + "  budget: {usd: 0}\n", 9, "a number of US dollars, more than 0"),
    "money in words": (LABELED + "  budget: {usd: ten}\n", 9, "valid number"),
    "money by the week": (LABELED + "  budget: {usd: 5, per: week}\n", 9, "'run', 'day', 'month' or 'backfill'"),
    "caching that YAML takes for a flag": (LABELED + "  caching: off\n", 9, "'auto' or 'off'"),
    "half a canary": (LABELED + "  canary: 0.5\n", 9, "valid integer"),
    "a bar in words": (LABELED + "  gold: g\n  trials: {models: [m], bar: high}\n", 10, "valid number"),
    "a prompt to try without a column": (
        LABELED + "  gold: g\n  trials:\n    prompts: {short: Hello}\n",
        11,
        "names no column",
    ),
    "a prompt to try that is not there": (
        LABELED + "  gold: g\n  trials:\n    prompts:\n      short: {path: no.md}\n",
        12,
        "No such file",
    ),
    "trials without gold rows": (LABELED + "  trials: {models: [claude-sonnet-5-5]}\n", None, "has no gold rows"),
    "a threshold in percent": (LABELED + "  checks:\n    error_rate: {warn: 5}\n", 10, "between 0 and 1"),
    "thresholds in the wrong order": (
        LABELED + "  checks:\n    complete: {warn: 0.1, fail: 0.5}\n",
        10,
        "fail before it warns",
    ),
    "a threshold in words": (LABELED + "  checks:\n    error_rate: {warn: five}\n", 9, "valid number"),
    "a check that there is not": (LABELED + "  checks:\n    eror_rate: {warn: 0.1}\n", 9, "eror_rate"),
    "partitions that there are not": (LABELED + "  partitions_def: {type: dayly}\n", 9, "'daily'"),
    "a date that is none": (
        LABELED + "  partitions_def: {type: daily, start_date: yesterday}\n  partition_expr: day\n",
        9,
        "yesterday",
    ),
    "partitions without an expression": (
        LABELED + "  partitions_def: {type: daily, start_date: '2026-01-01'}\n",
        None,
        "partition_expr",
    ),
    "an effort that there is not": (LABELED + "    effort: highest\n", 5, "'low', 'medium', 'high'"),
    "no tokens": (LABELED + "    max_tokens: 0\n", 5, "max_tokens must be at least 1"),
    "a param that is refused": (LABELED + "    params: {temperature: 0.5}\n", 5, "temperature"),
    "a template variable that there is not": (LABELED.replace("invoices", '"{{ nowhere }}"'), 7, "'nowhere'"),
    "a variable that is not set": (LABELED.replace("invoices", '"{{ env.NOWHERE_SET }}"'), 7, "is not set. Set it"),
    "a variable that is not set within a text": (
        LABELED.replace("invoices", '"of {{ env.NOWHERE_SET }}"'),
        7,
        "is not set",
    ),
    "a misspelled variable within a text": (
        LABELED + '    system: "You support {{ tema }}."\n',
        9,
        "'tema' is undefined",
    ),
    "a misspelled variable in a name": (LABELED.replace("answers", '"a_{{ tema }}"'), 3, "'tema' is undefined"),
    "a column in two pairs of braces": (ASKED.replace("{text}", "{{ text }}"), 6, "one pair of braces: {body}"),
    "a text that is no template": (ASKED.replace("{text}", "{{ text"), 6, "cannot be filled in"),
    "a list with choices and items": (
        ASKED.replace("string", "{type: list, choices: [a, b], items: integer}"),
        7,
        "a list has choices or items",
    ),
    "a schedule that is none": (LABELED + "  schedule: every day\n", None, "every day"),
    "a negative time": (LABELED + "  new_documents_sensor: {settle_seconds: -1}\n", 9, "greater than or equal to 0"),
    "a condition in words": (
        LABELED + "  automation_condition: eager\n",
        9,
        r"{{ dg.AutomationCondition.eager() }}",
    ),
    "a sensor by a wrong word": (
        LABELED + "  collect_sensor: \"{{ 'perhaps' }}\"\n",
        9,
        "write true, false, or its settings",
    ),
    "a review by a wrong word": (LABELED + "  review: \"{{ 'perhaps' }}\"\n", 9, "write true, false, or its settings"),
    "a review of many rows": (LABELED + "  review: {rows: \"{{ 'many' }}\"}\n", 9, "rows is 'many', not a number"),
    "a review of no rows": (LABELED + "  review: {rows: 0}\n", None, "rows is a number of rows to be read"),
    "a review of a field that there is not": (LABELED + "  review: {fields: [lable]}\n", None, "names 'lable'"),
    "a question of another kind": (LABELED.partition("    labels")[0].rstrip() + ' "{{ 5 }}"\n', 5, "int, not Ask"),
    "a resource and the key of one": (
        LABELED + "  resource_key: ours\n  resource: {api_key: '{{ env.K }}', database: w.duckdb}\n",
        None,
        "resource and resource_key contradict",
    ),
    "a token for the database": (
        LABELED
        + "  resource:\n    api_key: '{{ env.K }}'\n"
        + "    database: {database: w, connection_config: {t: '{{ env.T }}'}}\n",
        9,
        "connection_config takes t as it is written",
    ),
    "a number that is none": (
        LABELED + "  resource: {api_key: '{{ env.K }}', database: w, poll_interval_seconds: \"{{ 'soon' }}\"}\n",
        9,
        "poll_interval_seconds: Input should be a valid number",
    ),
    "a secret that is filled in early": (
        LABELED + "  resource:\n    api_key: \"{{ env('TOKEN', 'hush') }}\"\n    database: w.duckdb\n",
        9,
        "filled in when definitions load",
    ),
    "a secret in clear": (
        LABELED + f"  resource:\n    api_key: {SECRET}\n    database: w.duckdb\n",
        9,
        "'{{ env.ANTHROPIC_API_KEY }}'",
    ),
    "a password in clear": (
        LABELED
        + "  resource:\n    api_key: '{{ env.KEY }}'\n    database: w.duckdb\n    ledger_url: postgresql://u:pw@h/d\n",
        9,
        "a password written out",
    ),
    "a token in clear": (
        LABELED
        + "  resource:\n    api_key: '{{ env.KEY }}'\n    database: w.duckdb\n    default_headers: {x-token: hush}\n",
        9,
        "looks like a secret in x-token",
    ),
}


@pytest.mark.sampled
@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_refused_where_it_stands(load_text: Callable[..., Loaded], mistake: str) -> None:
    """The error names the file, the line wherever Dagster knows it, and what is wrong; never a secret."""
    text, line, said = MISTAKES[mistake]

    with pytest.raises(Exception) as caught:  # noqa: PT011  (Dagster's own, of several kinds)
        dg.Definitions.validate_loadable(load_text(text)[1])

    told = f"{caught.value}\n{caught.value.__cause__}"
    assert "defs.yaml" in told
    if line is not None:
        assert re.search(rf"answers/defs\.yaml:{line}\b", told), told
    assert said in told
    assert not re.search(rf"{SECRET}|u:pw@|hush", told)
