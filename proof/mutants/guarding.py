"""Bugs that let keys and documents out."""

from proof.mutants.mutant import Mutant

CLIENT = "tests/client/test_client.py"
FILES = "tests/storage/test_storage_files.py"

GUARDING = (
    Mutant(
        name="results-from-their-url",
        what="The API says where the results are, so that is where they are fetched.",
        file="client.py",
        old='f"{_path(batch_id)}/results", cast_to=',
        new='_json(self._client.get(_path(batch_id), cast_to=httpx2.Response))["results_url"], cast_to=',
        caught_by=(
            f"{CLIENT}::test_f67_results_come_from_the_configured_host_by_id",
            "tests/proof/test_proof_gone.py::test_f67_the_host_that_results_url_names_is_never_asked",
        ),
    ),
    Mutant(
        name="http-to-any-host",
        what="Inside a company's network http is fine.",
        file="client.py",
        old='not (parts.scheme == "http" and parts.hostname in LOOPBACK)',
        new='parts.scheme != "http"',
        caught_by=(f"{CLIENT}::test_a_base_url_that_does_not_is_refused[http://api.example.com-is not https]",),
    ),
    Mutant(
        name="sdk-logs-prompts",
        what="Which logger says what is the user's choice.",
        file="client.py",
        old='    logging.getLogger("anthropic").setLevel(logging.INFO)  # its DEBUG prints whole prompts\n',
        new="",
        caught_by=(f"{CLIENT}::test_f120_the_sdk_does_not_log_prompts",),
    ),
    Mutant(
        name="sdk-errors-chained",
        what="The cause of an error helps who reads it.",
        file="client.py",
        old="raise _refused(error) from None",
        new="raise _refused(error) from error",
        caught_by=(f"{CLIENT}::test_f120_no_error_holds_the_key_or_a_document[401]",),
    ),
    Mutant(
        name="documents-in-the-ledger",
        what="The API's own words say best why it refused.",
        file="core/submission.py",
        old="to=State.REFUSED, note=error.brief)",
        new="to=State.REFUSED, note=str(error))",
        caught_by=("tests/core/test_core_submission.py::test_a_failed_call_is_written_down_as_what_it_proves",),
    ),
    Mutant(
        name="key-in-the-ledger",
        what="The account is what tells keys apart: the key.",
        file="client.py",
        old="tag = hashlib.sha256(secret.encode()).hexdigest()[:8]",
        new="tag = secret",
        caught_by=(f"{CLIENT}::test_f112_f120_the_account_tells_keys_urls_and_workspaces_apart_and_holds_no_key",),
    ),
    Mutant(
        name="key-in-repr",
        what="A field is a field; why should one not be shown?",
        file="resource.py",
        old="        repr=False,\n",
        new="",
        caught_by=("tests/dagster/test_dagster_resource.py::test_f120_the_key_is_never_shown",),
    ),
    Mutant(
        name="outbox-outlives-the-process",
        what="The run deletes its requests when it ends; that is soon enough.",
        file="storage/outbox.py",
        old="            self.path.unlink()\n",
        new="            self.path.stat()\n",
        caught_by=(f"{FILES}::test_f120_the_outbox_takes_nothing_once_closed_and_is_removed_with_its_documents",),
    ),
    Mutant(
        name="refusal-quotes-document",
        what="The API's own words say best what is wrong.",
        file="core/submission.py",
        old="raise _without_documents(error, chunk)",
        new="raise error",
        caught_by=(
            "tests/core/test_core_submission.py::test_f120_a_refusal_that_quotes_a_document_is_raised_without_it",
        ),
    ),
)
