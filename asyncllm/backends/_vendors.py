"""The vendors, as data. To add one: add a row, and a recording of its stream to the tests.

Sources: the providers' documentation and the quirks named beside the values. `unsure` names what rests on hearsay.
"""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct

from ._credentials import NO_RULE, BearerRule, Claim

Q = dict[str, object]
"""Quirks by name: the fields of the `QUIRKS` of a wire."""


class Vendor(Struct, frozen=True, kw_only=True):
    """One provider whose wire goes over HTTP.

    Attributes:
        wire: the module of ``asyncllm.protocols`` whose codec it speaks.
        quirks: where its dialect differs from the wire as it is documented.
        base_url: where its API is; `{field}` s are filled from backend options or the variables in `fields`.
        env: variables that may hold the key, in order.
        default_key: what is sent where no key is needed.
        base_url_env: variables that may override the base URL; for a local server, a bare host or host:port will do.
        base_url_suffix: how the URL in such a variable must end; `base_url_other` is the ending of another API that the
            same server has at the same variable.
        models_path: where the list of its models is.
        models_headers: what a request for that list needs beside the credentials.
        auth_header: the header that carries the key; anything but `authorization` has no "Bearer".
        bearer: which of its credentials are bearer tokens all the same.
        local: whether it usually runs on one's own machine.
        unsure: fields that nobody could verify.
    """

    name: str
    base_url: str
    env: tuple[str, ...] = ()
    default_key: str | None = None
    base_url_env: tuple[str, ...] = ()
    base_url_suffix: str = ""
    base_url_other: str = ""
    models_path: str = "/models"
    models_headers: Mapping[str, str] = {}
    fields: dict[str, tuple[str, ...]] = {}
    auth_header: str = "authorization"
    bearer: BearerRule = NO_RULE
    aliases: tuple[str, ...] = ()
    wire: str = "openai_chat"
    quirks: Mapping[str, object] = {}
    local: bool = False
    default_model: str = ""
    unsure: tuple[str, ...] = ()


_COMPLETION = Q(max_tokens="max_completion_tokens")
_TAGS = Q(think_tags=True)

VENDORS: tuple[Vendor, ...] = (
    Vendor(
        name="openai",
        base_url="https://api.openai.com/v1",
        env=("OPENAI_API_KEY",),
        base_url_env=("OPENAI_BASE_URL",),
        quirks=_COMPLETION,
        default_model="gpt-5-mini",
    ),
    Vendor(
        name="azure",
        base_url="https://{resource}.openai.azure.com/openai/v1",
        env=("AZURE_OPENAI_API_KEY",),
        base_url_env=("AZURE_OPENAI_ENDPOINT",),
        base_url_suffix="/openai/v1",
        fields={"resource": ("AZURE_OPENAI_RESOURCE",)},
        auth_header="api-key",
        aliases=("azure-openai",),
        quirks=_COMPLETION,
        unsure=("quirks.stream_options on api-versions before v1",),
    ),
    Vendor(
        name="gemini-openai",
        base_url="https://generativelanguage.googleapis.com/v1beta/openai",
        env=("GEMINI_API_KEY", "GOOGLE_API_KEY"),
        aliases=("gemini-openai-compat",),
    ),
    Vendor(
        name="fireworks",
        base_url="https://api.fireworks.ai/inference/v1",
        env=("FIREWORKS_API_KEY",),
        aliases=("fireworks-ai",),
        default_model="accounts/fireworks/models/gpt-oss-120b",
    ),
    Vendor(
        name="groq",
        base_url="https://api.groq.com/openai/v1",
        env=("GROQ_API_KEY",),
        quirks=_COMPLETION,
        default_model="llama-3.3-70b-versatile",
    ),
    Vendor(
        name="openrouter",
        base_url="https://openrouter.ai/api/v1",
        env=("OPENROUTER_API_KEY",),
        default_model="openrouter/auto",
    ),
    Vendor(
        name="ollama",
        base_url="http://localhost:11434/v1",
        env=("OLLAMA_API_KEY",),
        default_key="ollama",
        base_url_env=("OLLAMA_BASE_URL", "OLLAMA_HOST"),
        base_url_suffix="/v1",
        quirks=Q(strict_tools=False),
        local=True,
        default_model="llama3.2",
    ),
    Vendor(
        name="vllm",
        base_url="http://localhost:8200/v1",
        env=("VLLM_API_KEY",),
        default_key="vllm",
        base_url_env=("VLLM_BASE_URL",),
        quirks=Q(done_needs_finish=True),  # vllm-project/vllm#57089: an aborted request ends with a clean [DONE]
        local=True,
    ),
    Vendor(
        name="sglang", base_url="http://localhost:30000/v1", default_key="EMPTY", env=("SGLANG_API_KEY",), local=True
    ),
    Vendor(
        name="llama.cpp",
        base_url="http://127.0.0.1:8080/v1",
        env=("LLAMACPP_API_KEY",),
        default_key="none",
        aliases=("llamacpp", "llama-server"),
        local=True,
    ),
    Vendor(
        name="lmstudio",
        base_url="http://localhost:1234/v1",
        env=("LM_STUDIO_API_KEY",),
        default_key="lm-studio",
        aliases=("lm-studio",),
        local=True,
    ),
    Vendor(
        name="deepseek",
        base_url="https://api.deepseek.com",
        env=("DEEPSEEK_API_KEY",),
        quirks=Q(output="json_object"),  # json_schema is rejected on chat
        default_model="deepseek-chat",
    ),
    Vendor(
        name="mistral",
        base_url="https://api.mistral.ai/v1",
        env=("MISTRAL_API_KEY",),
        # unknown fields are refused (extra_forbidden); usage comes unasked; a replayed thought is refused
        quirks=Q(stream_options=False, seed=False, echo_reasoning=False),
        default_model="mistral-medium-latest",
        unsure=("quirks.seed (the field is random_seed)",),
    ),
    Vendor(
        name="xai",
        base_url="https://api.x.ai/v1",
        env=("XAI_API_KEY",),
        aliases=("grok",),
        quirks=_COMPLETION,
        default_model="grok-4",
    ),
    Vendor(
        name="together", base_url="https://api.together.xyz/v1", env=("TOGETHER_API_KEY",), aliases=("together-ai",)
    ),
    Vendor(name="cerebras", base_url="https://api.cerebras.ai/v1", env=("CEREBRAS_API_KEY",), quirks=_COMPLETION),
    Vendor(
        name="nvidia",
        base_url="https://integrate.api.nvidia.com/v1",
        env=("NVIDIA_API_KEY",),
        aliases=("nvidia-nim", "nim"),
        unsure=("quirks.extra fields are refused",),
    ),
    Vendor(
        name="moonshot",
        base_url="https://api.moonshot.ai/v1",
        env=("MOONSHOT_API_KEY",),
        aliases=("moonshotai", "kimi"),
        quirks=Q(tool_choice_forced=False, strict_tools=False),
    ),
    Vendor(name="minimax", base_url="https://api.minimax.io/v1", env=("MINIMAX_API_KEY",), quirks=_TAGS),
    Vendor(name="zai", base_url="https://api.z.ai/api/paas/v4", env=("ZAI_API_KEY",), aliases=("z.ai", "glm", "zhipu")),
    Vendor(
        name="dashscope",
        base_url="https://dashscope.aliyuncs.com/compatible-mode/v1",
        env=("DASHSCOPE_API_KEY",),
        base_url_env=("DASHSCOPE_BASE_URL",),
        aliases=("alibaba", "qwen"),
    ),
    Vendor(
        name="perplexity",
        base_url="https://api.perplexity.ai",
        env=("PERPLEXITY_API_KEY", "PPLX_API_KEY"),
        quirks=_TAGS,
        default_model="sonar",
        unsure=("quirks.think_tags",),
    ),
    Vendor(
        name="cohere",
        base_url="https://api.cohere.ai/compatibility/v1",
        env=("COHERE_API_KEY", "CO_API_KEY"),
        aliases=("cohere-compat",),
        quirks=_COMPLETION,
    ),
    Vendor(name="deepinfra", base_url="https://api.deepinfra.com/v1/openai", env=("DEEPINFRA_API_KEY",)),
    Vendor(name="sambanova", base_url="https://api.sambanova.ai/v1", env=("SAMBANOVA_API_KEY",), quirks=_TAGS),
    Vendor(
        name="nebius",
        base_url="https://api.studio.nebius.ai/v1",
        env=("NEBIUS_API_KEY",),
        unsure=("base_url (newer: https://api.tokenfactory.nebius.com/v1)",),
    ),
    Vendor(
        name="huggingface",
        base_url="https://router.huggingface.co/v1",
        env=("HF_TOKEN", "HUGGINGFACE_API_KEY"),
        aliases=("hf", "huggingface-router"),
        unsure=("quirks.stream_options (depends on the routed provider)",),
    ),
    Vendor(
        name="github",
        base_url="https://models.github.ai/inference",
        env=("GITHUB_TOKEN",),
        aliases=("github-models",),
        quirks=_COMPLETION,
        unsure=("quirks.max_tokens (as the model has it)",),
    ),
    Vendor(
        name="databricks",
        base_url="https://{workspace}/serving-endpoints",
        env=("DATABRICKS_TOKEN",),
        fields={"workspace": ("DATABRICKS_HOST",)},
        unsure=("quirks",),
    ),
    Vendor(
        name="bedrock-mantle",
        base_url="https://bedrock-mantle.{region}.api.aws/v1",
        env=("AWS_BEARER_TOKEN_BEDROCK",),
        fields={"region": ("AWS_REGION", "AWS_DEFAULT_REGION")},
        quirks=_COMPLETION,
        unsure=("base_url", "quirks"),
    ),
    Vendor(
        name="vercel",
        base_url="https://ai-gateway.vercel.sh/v1",
        env=("AI_GATEWAY_API_KEY",),
        aliases=("vercel-ai-gateway", "ai-gateway"),
    ),
    Vendor(
        name="litellm-proxy",
        base_url="http://localhost:4000",
        env=("LITELLM_PROXY_API_KEY", "LITELLM_API_KEY"),
        default_key="sk-anything",
        base_url_env=("LITELLM_PROXY_API_BASE",),
        aliases=("litellm_proxy",),  # LiteLLM's own name for it
        local=True,
    ),
    Vendor(
        name="hyperbolic", base_url="https://api.hyperbolic.xyz/v1", env=("HYPERBOLIC_API_KEY",), unsure=("base_url",)
    ),
    Vendor(name="novita", base_url="https://api.novita.ai/v3/openai", env=("NOVITA_API_KEY",), unsure=("base_url",)),
    Vendor(
        name="volcengine",
        base_url="https://ark.cn-beijing.volces.com/api/v3",
        env=("ARK_API_KEY",),
        aliases=("volcengine-ark", "ark", "doubao"),
    ),
    Vendor(name="baseten", base_url="https://inference.baseten.co/v1", env=("BASETEN_API_KEY",)),
    Vendor(
        name="ollama-native",
        wire="ollama",
        base_url="http://localhost:11434",  # the cloud: https://ollama.com, with a key
        env=("OLLAMA_API_KEY",),
        default_key="",
        base_url_env=("OLLAMA_BASE_URL", "OLLAMA_HOST"),
        base_url_other="/v1",
        models_path="/api/tags",
        local=True,
        default_model="llama3.2",
    ),
    Vendor(
        name="anthropic",
        wire="anthropic",
        base_url="https://api.anthropic.com/v1",
        env=("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN"),
        base_url_env=("ANTHROPIC_BASE_URL",),
        base_url_suffix="/v1",
        models_headers={"anthropic-version": "2023-06-01"},
        auth_header="x-api-key",
        bearer=BearerRule(
            env=("ANTHROPIC_AUTH_TOKEN",),
            prefixes=("sk-ant-oat",),  # OAuth and federation: refused in x-api-key, and without the beta
            headers={"anthropic-beta": "oauth-2025-04-20"},
        ),
        aliases=("claude",),
        default_model="claude-sonnet-5",
    ),
    Vendor(
        name="gemini",
        wire="gemini",
        base_url="https://generativelanguage.googleapis.com/v1beta",
        env=("GEMINI_API_KEY", "GOOGLE_API_KEY"),
        base_url_env=("GOOGLE_GEMINI_BASE_URL",),
        base_url_suffix="/v1beta",
        auth_header="x-goog-api-key",
        aliases=("google", "google-ai-studio"),
        default_model="gemini-flash-latest",
    ),
    Vendor(
        name="openai-responses",
        wire="openai_responses",
        base_url="https://api.openai.com/v1",
        env=("OPENAI_API_KEY",),
        base_url_env=("OPENAI_BASE_URL",),
        default_model="gpt-5-mini",
    ),
    Vendor(
        name="azure-responses",
        wire="openai_responses",
        base_url="https://{resource}.openai.azure.com/openai/v1",
        env=("AZURE_OPENAI_API_KEY",),
        base_url_env=("AZURE_OPENAI_ENDPOINT",),
        base_url_suffix="/openai/v1",
        fields={"resource": ("AZURE_OPENAI_RESOURCE",)},
        auth_header="api-key",
    ),
    Vendor(
        name="chatgpt",  # what the Codex CLI talks to, with the token of its login
        wire="openai_responses",
        base_url="https://chatgpt.com/backend-api/codex",
        env=("CHATGPT_ACCESS_TOKEN",),
        bearer=BearerRule(
            prefixes=("",),
            headers={"originator": "asyncllm", "openai-beta": "responses=experimental"},
            claims={
                "chatgpt-account-id": Claim(("https://api.openai.com/auth", "chatgpt_account_id"), "CHATGPT_ACCOUNT_ID")
            },
        ),
        quirks=Q(
            instructions="You are a helpful assistant.",
            refuses=("max_output_tokens", "temperature", "top_p"),
            system_role="developer",
            item_ids=False,
        ),
        unsure=("all of it is undocumented", "models_path", "quirks.system_role", "quirks.item_ids"),
    ),
)


class Special(Struct, frozen=True, kw_only=True):
    """A provider that is code, not a row.

    Attributes:
        home: "module:function" of this package; the function takes :class:`Settings` and gives a backend.
        where: what stands in the place of its address, in words.
        env: variables that may hold its credentials.
        extra: the extra of this package that it needs.
        program: what must be installed beside this package, and is run; `install` says how.
        model_needed: whether a model must be named; else there is a default.
    """

    name: str
    home: str
    where: str
    env: tuple[str, ...] = ()
    key_needed: bool = False
    extra: str = ""
    aliases: tuple[str, ...] = ()
    program: str = ""
    install: str = ""
    model_needed: bool = True


SPECIALS = (
    Special(name="demo", home="_demo:demo_backend", where="in this process"),
    Special(
        name="vertex",
        home="_google:vertex_backend",
        where="https://{location}-aiplatform.googleapis.com",
        env=("GOOGLE_CLOUD_PROJECT", "GOOGLE_APPLICATION_CREDENTIALS"),
        key_needed=True,
        extra="google",
        aliases=("vertex-ai", "vertexai"),
    ),
    Special(
        name="vertex-maas",
        home="_google:maas_backend",
        where="https://{location}-aiplatform.googleapis.com",
        env=("GOOGLE_CLOUD_PROJECT", "GOOGLE_APPLICATION_CREDENTIALS"),
        key_needed=True,
        extra="google",
    ),
    Special(name="litellm", home="_litellm:litellm_backend", where="LiteLLM, in this process", extra="litellm"),
    Special(
        name="bedrock",
        home="_bedrock:bedrock_backend",
        where="https://bedrock-runtime.{region}.amazonaws.com",
        env=("AWS_BEARER_TOKEN_BEDROCK", "AWS_ACCESS_KEY_ID", "AWS_PROFILE", "AWS_WEB_IDENTITY_TOKEN_FILE"),
        extra="bedrock",
        aliases=("amazon-bedrock", "aws-bedrock"),
    ),
    Special(
        name="claude-code",
        home="agents._claude_code:claude_code_backend",
        where="Claude Code, a program",
        env=("ANTHROPIC_API_KEY", "CLAUDE_CODE_OAUTH_TOKEN"),
        program="claude",
        install="npm install -g @anthropic-ai/claude-code",
        model_needed=False,
    ),
    Special(
        name="codex",
        home="agents._codex:codex_backend",
        where="Codex, a program",
        env=("OPENAI_API_KEY", "CODEX_API_KEY"),
        program="codex",
        install="npm install -g @openai/codex",
        model_needed=False,
    ),
    Special(
        name="opencode",
        home="agents._opencode:opencode_backend",
        where="opencode, a program",
        program="opencode",
        install="npm install -g opencode-ai",
        model_needed=False,
    ),
    Special(
        name="antigravity",
        home="agents._antigravity:antigravity_backend",
        where="Antigravity, a program",
        env=("GEMINI_API_KEY",),
        aliases=("agy",),
        program="agy",
        install="https://antigravity.google/docs/cli/install",
        model_needed=False,
    ),
)

SPECIAL_BY_NAME = {name: special for special in SPECIALS for name in (special.name, *special.aliases)}

BY_NAME: dict[str, Vendor] = {name: vendor for vendor in VENDORS for name in (vendor.name, *vendor.aliases)}
