"""Keys as services make them, to be generated in tests of what is taken for a secret."""

from __future__ import annotations

import string

from hypothesis import strategies as st

ALNUM = string.ascii_letters + string.digits


def random_text(length: int, alphabet: str = ALNUM) -> st.SearchStrategy[str]:
    return st.text(alphabet=alphabet, min_size=length, max_size=length)


UPPER = string.ascii_uppercase + string.digits
HEX = "0123456789abcdef"
WORD = ALNUM + "_-"


def made(*parts: str | tuple[int, str]) -> st.SearchStrategy[str]:
    """Texts as they stand, and random ones of a length."""
    pieces = [st.just(part) if isinstance(part, str) else random_text(*part) for part in parts]
    return st.tuples(*pieces).map("".join)


KEYS: dict[str, tuple[st.SearchStrategy[str], ...]] = {
    "Hugging Face": (made("hf_", (34, ALNUM)), made("api_org_", (34, ALNUM))),
    "Weights & Biases": (made("wandb_v1_", (70, WORD)),),
    "OpenAI, Anthropic, DeepSeek": (
        made("sk-", (40, ALNUM)), made("sk-ant-api03-", (40, WORD)), made("sk-", (32, HEX)),
    ),
    "Replicate": (made("r8_", (37, ALNUM)),),
    "NVIDIA": (made("nvapi-", (64, WORD)),),
    "Groq": (made("gsk_", (52, ALNUM)),),
    "xAI": (made("xai-", (80, ALNUM)),),
    "Together": (made("tgp_v1_", (43, WORD)),),
    "Fireworks": (made("fw_", (22, ALNUM)),),
    "Perplexity": (made("pplx-", (48, ALNUM)),),
    "LangSmith": (made("lsv2_pt_", (32, HEX), "_", (10, HEX)),),
    "Pinecone": (made("pcsk_", (5, ALNUM), "_", (50, ALNUM)),),
    "RunPod": (made("rpa_", (40, UPPER)),),
    "Kaggle": (made("KGAT_", (32, HEX)),),
    "Databricks": (made("dapi", (32, HEX)),),
    "Neptune, Grafana": (made("eyJhcGlf", (80, ALNUM)), made("eyJrIjoi", (72, ALNUM), "==")),
    "GitHub": (
        *[made(f"gh{kind}_", (36, ALNUM)) for kind in "pousr"],
        made("github_pat_", (22, ALNUM), "_", (59, ALNUM)),
    ),
    "GitLab": (
        *[made(f"gl{kind}-", (20, WORD)) for kind in ("pat", "dt", "rt", "soat", "ptt")],
        made("glpat-", (27, WORD), ".", (9, HEX)), made("GR1348941", (20, WORD)),
    ),
    "Atlassian, Bitbucket": (made("ATATT3", (186, WORD)), made("ATBB", (32, ALNUM))),
    "npm": (made("npm_", (36, ALNUM)),),
    "PyPI": (made("pypi-AgEIcHlwaS5vcmc", (100, WORD)),),
    "RubyGems": (made("rubygems_", (48, HEX)),),
    "Docker Hub": (made("dckr_pat_", (27, WORD)), made("dckr_oat_", (32, WORD))),
    "Artifactory": (made("AKCp", (69, ALNUM)), made("cmVmd", (59, ALNUM))),
    "Buildkite, CircleCI": (made("bkua_", (40, HEX)), made("CCIPAT_", (60, ALNUM))),
    "Pulumi": (made("pul-", (40, HEX)),),
    "Sentry": (made("sntryu_", (64, HEX)), made("sntrys_eyJpYXQiO", (90, ALNUM))),
    "Sourcegraph": (made("sgp_", (40, HEX)), made("sgp_local_", (40, HEX))),
    "Postman": (made("PMAK-", (24, HEX), "-", (34, HEX)),),
    "Linear, Notion, Figma": (
        made("lin_api_", (40, ALNUM)), made("ntn_", (46, ALNUM)), made("figd_", (40, WORD)),
    ),
    "Airtable": (made("pat", (14, ALNUM), ".", (64, HEX)),),
    "AWS": (
        *[made(kind, (16, UPPER)) for kind in ("AKIA", "ASIA", "ABIA", "ACCA")],
        made("ABSK", (120, ALNUM)),
    ),
    "Google": (
        made("AIza", (35, WORD)), made("ya29.", (60, WORD)), made("GOCSPX-", (28, WORD)),
        made("1//0", (60, WORD)),
    ),
    "Azure": (
        made("AccountName=x;AccountKey=", (86, ALNUM), "=="), made((3, ALNUM), "8Q~", (34, WORD)),
        made((76, ALNUM), "AZDO", (4, ALNUM)), made("SharedAccessKey=", (43, ALNUM), "="),
    ),
    "Alibaba, Tencent": (made("LTAI", (20, ALNUM)), made("AKID", (32, ALNUM))),
    "DigitalOcean": (made("dop_v1_", (64, HEX)), made("dor_v1_", (64, HEX))),
    "Cloudflare": (made("v1.0-", (24, HEX), "-", (146, HEX)),),
    "Heroku, Netlify, Render": (
        made("HRKU-AA", (58, WORD)), made("nfp_", (36, ALNUM)), made("rnd_", (28, ALNUM)),
    ),
    "PlanetScale, Supabase": (
        made("pscale_tkn_", (43, WORD)), made("sbp_", (40, HEX)), made("sb_secret_", (31, WORD)),
    ),
    "Fly": (made("fo1_", (43, WORD)), made("fm2_", (120, ALNUM))),
    "Tailscale": (made("tskey-auth-", (12, ALNUM), "-", (32, ALNUM)),),
    "HashiCorp Vault": (
        made("hvs.", (95, WORD)), made("hvb.", (140, WORD)), made("s.4X", (22, ALNUM)),
    ),
    "HashiCorp Terraform": (made((14, ALNUM), ".atlasv1.", (64, WORD)),),
    "Doppler": (made("dp.pt.", (43, ALNUM)), made("dp.st.dev.", (40, ALNUM))),
    "1Password": (
        made("ops_eyJ", (250, ALNUM)),
        made("A3-", (6, UPPER), "-", (11, UPPER), "-ABCDE-", (5, UPPER), "-", (5, UPPER)),
    ),
    "age": (made("AGE-SECRET-KEY-1", (58, UPPER)),),
    "private keys": (st.just("-----BEGIN OPENSSH PRIVATE KEY-----"),),
    "JSON web tokens": (made("eyJ", (20, ALNUM), ".", (20, ALNUM), ".", (20, ALNUM)),),
    "OpenShift": (made("sha256~", (43, WORD)),),
    "Slack": (
        made("xoxb-", (40, ALNUM)), made("xoxe.xoxp-1-", (160, UPPER)),
        made("xapp-1-", (11, UPPER), "-", (12, HEX), "-", (64, HEX)),
        made("https://hooks.slack.com/services/T", (9, UPPER), "/B", (9, UPPER), "/", (24, ALNUM)),
    ),
    "Discord": (made("https://discord.com/api/webhooks/123456789/", (60, WORD)),),
    "Teams": (made("https://x.webhook.office.com/webhookb2/a@b/IncomingWebhook/", (32, HEX)),),
    "Telegram": (made("123456789:AA", (33, WORD)),),
    "SendGrid, Brevo": (
        made("SG.", (22, WORD), ".", (43, WORD)), made("xkeysib-", (64, HEX), "-", (16, ALNUM)),
    ),
    "Twilio": (made("SK", (32, HEX)),),
    "Stripe": (made("sk_live_", (24, ALNUM)), made("whsec_", (32, ALNUM))),
    "Square, Shopify": (made("sq0atp-", (22, WORD)), made("shpat_", (32, HEX))),
}  # fmt: skip
"""Keys as each service makes them."""
