"""The errors a fault can ask for, as the API words them."""

from collections.abc import Mapping

from claude_batch_dagster.emulator.reply import ApiError

REFUSALS: Mapping[str, ApiError] = {
    "spend_limit_400": ApiError(
        status=400,
        kind="invalid_request_error",
        message="You have reached your specified API usage limits. You will regain access on 2026-12-01 at 00:00 UTC.",
    ),
    "401": ApiError(status=401, kind="authentication_error", message="API key is invalid."),
    "billing_402": ApiError(
        status=402,
        kind="billing_error",
        message="Your credit balance is too low to access the Anthropic API. "
        "Please go to Plans & Billing to upgrade or purchase credits.",
    ),
    "403": ApiError(
        status=403,
        kind="permission_error",
        message="Your API key does not have permission to use the specified resource.",
    ),
    "404": ApiError(status=404, kind="not_found_error", message="Not found"),
    "408": ApiError(status=408, kind="timeout_error", message="Request timeout"),
    "409": ApiError(status=409, kind="conflict_error", message="Conflict"),
    "422": ApiError(status=422, kind="invalid_request_error", message="Unprocessable request"),
    "429": ApiError(
        status=429,
        kind="rate_limit_error",
        message="This request would exceed your organization's rate limit for Message Batches.",
    ),
    "429_no_retry_after": ApiError(
        status=429,
        kind="rate_limit_error",
        message="This request would exceed your organization's rate limit for Message Batches.",
    ),
    "enforced_spend_limit_429": ApiError(
        status=429,
        kind="rate_limit_error",
        message="Your organization has reached its monthly spend limit.",
        error_code="enforced_spend_limit_reached",
    ),
    "500": ApiError(status=500, kind="api_error", message="Internal server error"),
    "502": ApiError(status=502, kind="api_error", message="Bad gateway"),
    "503": ApiError(status=503, kind="api_error", message="Service unavailable"),
    "504": ApiError(status=504, kind="timeout_error", message="Gateway timeout"),
    "529": ApiError(status=529, kind="overloaded_error", message="Overloaded"),
}
"""Faults that are an error of the API; each also exists as `<name>_after_accept`."""
