"""What providers say when something goes wrong, as data: the codes, the statuses, the phrases, and what each means."""

from __future__ import annotations

import re

CODES: dict[str, str] = {
    code: kind
    for kind, codes in {
        "rate_limit": """
            rate_limit_exceeded slow_down requests tokens rate_limit_error ramp_limit_exceeded rate_limit rate_limited
            too_many_requests resource_exhausted throttlingexception modelnotreadyexception throttling limit_burst_rate
            ratelimiterror usage_limit_reached ratelimitreached toomanyrequests toomanyrequestsexception
            capacity_exceeded flex_capacity_exceeded service_tier_capacity_exceeded
        """,
        "billing": """
            insufficient_quota credit_balance_exhausted organization_spend_limit_exceeded billing_error
            project_spend_limit_exceeded organization_usage_limit_exceeded billing_hard_limit_reached billing_not_active
            enforced_spend_limit_reached contract_spend_limit_reached billing_disabled insufficient_balance
            insufficient_credits payment_required arrearage servicequotaexceededexception
        """,
        "authentication": """
            invalid_api_key authentication_error unauthenticated unauthorized api_key_invalid invalid_authentication
            unrecognizedclientexception invalidsignatureexception expiredtokenexception incompletesignatureexception
            missingauthenticationtokenexception authenticationerror invalidclienttokenid signaturedoesnotmatch
            expiredtoken
        """,
        "permission": """
            permission_error permission_denied unsupported_country_region_territory accessdeniedexception access_denied
            forbidden permissiondeniederror permissiondenied
        """,
        "not_found": """
            model_not_found not_found_error not_found deploymentnotfound resourcenotfoundexception notfounderror
            deployment_not_found
        """,
        "context_length": """
            context_length_exceeded exceed_context_size_error string_above_max_length model_context_window_exceeded
            context_window_exceeded
        """,
        "content_blocked": """
            content_policy_violation content_filter invalid_prompt bio_policy misalignment_policy_violation
            responsibleaipolicyviolation data_inspection_failed content_blocked image_content_policy_violation
        """,
        "overloaded": """
            server_is_overloaded service_unavailable_error overloaded_error overloaded unavailable
            serviceunavailableexception service_unavailable insufficient_system_resource serviceunavailableerror
            serviceunavailable
        """,
        "server_error": """
            server_error internal_server_error internal api_error internalserverexception modelerrorexception
            modelstreamerrorexception malformed_model_output internal_error internalservererror provider_error
            upstream_error conflict conflict_error conflictexception aborted already_exists data_loss
        """,
        "timeout": """
            timeout_error deadline_exceeded cancelled modeltimeoutexception timeout request_timeout gateway_timeout
            vector_store_timeout
        """,
        "invalid_request": """
            invalid_request_error unsupported_parameter invalid_value unsupported_value invalid_argument
            failed_precondition validationexception badrequesterror bad_request invalid_request request_too_large
            tool_use_failed invalidparameter invalid_parameter unprocessable_entity missing_required_parameter
            json_validate_failed badrequest out_of_range data_residency_mismatch invalid_image invalid_image_format
            invalid_base64_image invalid_image_url image_too_large image_too_small image_parse_error invalid_image_mode
            image_file_too_large unsupported_image_media_type empty_image_file failed_to_download_image
            image_file_not_found
        """,
        "protocol": "protocol",
        "connection": "connection",
        "max_output": "max_output",
        "unknown": "unknown",
    }.items()
    for code in codes.split()
}
"""code -> kind. In lower case; a blank or a hyphen is an underscore."""

GENERIC = frozenset({"invalid_request", "server_error"})
"""Kinds that a code of a broader sort names; a finer code or phrase beside it wins."""

EXACT = frozenset({"request_too_large"})
"""Codes that mean their broad kind and nothing finer: 413 is often a context that is too long, and here it is not."""

STATUS: dict[int, str] = {
    400: "invalid_request",
    401: "authentication",
    402: "billing",
    403: "permission",
    404: "not_found",
    408: "timeout",
    409: "server_error",  # a conflict: the same request may succeed in a moment, as after a failure of the server
    413: "context_length",
    422: "invalid_request",
    424: "server_error",
    429: "rate_limit",
    451: "permission",
    498: "rate_limit",
    499: "timeout",
    503: "overloaded",
    504: "timeout",
    524: "timeout",
    529: "overloaded",
}

PHRASES: tuple[tuple[str, re.Pattern[str]], ...] = tuple(
    (kind, re.compile(pattern, re.IGNORECASE))
    for kind, pattern in (
        (
            "context_length",
            r"maximum context length|context.{0,12}(length|window|size|limit)|prompt is too long|input is too long"
            r"|`?inputs`? (tokens \+ `?max_new_tokens`? must be|must have less than \d+ tokens)"
            r"|exceeds the maximum number of tokens|too many (input )?tokens"
            r"|reduce the length of the (messages|input|prompt)",
        ),
        (
            "billing",
            r"credit balance is too low|insufficient (credit|balance|fund)|spend(ing)? limit|invalid_payment_instrument"
            r"|free tier is not available|enable billing",
        ),
        ("authentication", r"api key not valid|(invalid|incorrect|missing|no) api[ -_]?key"),
        ("not_found", r"model .{0,80}(not found|does not exist)|model identifier is invalid|no such model"),
        ("content_blocked", r"content (management )?policy|safety (system|filter)"),
        ("overloaded", r"\boverloaded\b|server (is )?busy"),
        ("rate_limit", r"rate.?limit(ed)? (is )?(reached|exceeded)|too many requests"),
    )
)

REQUEST_IDS = (
    "x-request-id",
    "request-id",
    "x-amzn-requestid",
    "x-goog-request-id",
    "apim-request-id",
    "x-generation-id",
    "x-litellm-call-id",
    "cf-ray",
)
"""Headers that hold the id of a request, the provider's own before those of what stands in front of it."""
