"""Shapes of the keys that services give out, a row each: the service, and a regular expression.

A key that its service marks with a prefix is known by that and by its length. What has no mark of
its own (an AWS secret key, a key of W&B of 40 hexadecimal digits) is known by the name that it
stands under alone: `hpclaunch.secrets`. Another service is a row here, and one in
`tests/secret_keys.py`.
"""

from __future__ import annotations

SHAPES: dict[str, str] = {
    # Models, data and experiments.
    "Hugging Face": r"hf_(?:oauth_|jwt_)?[A-Za-z0-9]{20,}|api_org_[A-Za-z0-9]{20,}",
    "Weights & Biases": r"wandb_v\d_[\w-]{20,}",
    "OpenAI, Anthropic, DeepSeek": r"sk-(?:[A-Za-z0-9]{20,}|(?=[\w-]*\d)[\w-]{20,})",
    "Replicate": r"r8_[A-Za-z0-9]{30,}",
    "NVIDIA": r"nvapi-[\w-]{30,}",
    "Groq": r"gsk_[A-Za-z0-9]{30,}",
    "xAI": r"xai-[A-Za-z0-9]{40,}",
    "Together": r"tgp_v1_[\w-]{30,}",
    "Fireworks": r"fw_[A-Za-z0-9]{22,}",
    "Perplexity": r"pplx-[A-Za-z0-9]{40,}",
    "LangSmith": r"lsv2_(?:pt|sk)_[A-Za-z0-9_]{30,}",
    "Pinecone": r"pcsk_[\w-]{30,}",
    "RunPod": r"rpa_[A-Z0-9]{30,}",
    "Kaggle": r"KGAT_[A-Za-z0-9]{30,}",
    "Databricks": r"dapi[a-f0-9]{32}",
    "Neptune, Grafana": r"eyJ(?:hcGlf|rIjoi)[\w+/-]{40,}",
    # Code, packages and what builds them.
    "GitHub": r"gh[pousr]_[A-Za-z0-9]{30,}|github_pat_[A-Za-z0-9_]{20,}",
    "GitLab": (
        r"gl(?:pat|dt|rt|rtr|cbt|ptt|ft|ffct|imt|oas|soat|agent)-[\w.-]{20,}|GR1348941[\w-]{20,}"
    ),
    "Atlassian, Bitbucket": r"AT(?:ATT3|CTT3|BB)[\w=-]{24,}",
    "npm": r"npm_[A-Za-z0-9]{30,}",
    "PyPI": r"pypi-Ag[\w-]{50,}",
    "RubyGems": r"rubygems_[a-f0-9]{40,}",
    "Docker Hub": r"dckr_[po]at_[\w-]{20,}",
    "Artifactory": r"AKCp[A-Za-z0-9]{60,}|cmVmd[A-Za-z0-9]{50,}",
    "Buildkite, CircleCI": r"bk(?:ua|aj)_[a-f0-9]{30,}|CCI(?:PAT|PRJ)_[\w-]{30,}",
    "Pulumi": r"pul-[a-f0-9]{40}",
    "Sentry": r"sntry[su]_[\w+/=-]{40,}",
    "Sourcegraph": r"sgp_(?:[\w]{5,16}_)?[a-f0-9]{40}",
    "Postman": r"PMAK-[a-f0-9]{24}-[a-f0-9]{30,}",
    "Linear, Notion, Figma": (
        r"lin_(?:api|oauth)_[A-Za-z0-9]{30,}|ntn_[A-Za-z0-9]{40,}|fig[du]_[\w-]{30,}"
    ),
    "Airtable": r"pat[A-Za-z0-9]{14}\.[a-f0-9]{64}",
    # Clouds and their storage.
    "AWS": r"A(?:KIA|SIA|BIA|CCA)[0-9A-Z]{16}|ABSK[A-Za-z0-9+/]{100,}",
    "Google": r"AIza[\w-]{30,}|ya29\.[\w-]{20,}|GOCSPX-[\w-]{20,}|1//0[\w-]{30,}",
    "Azure": (
        r"(?:AccountKey|SharedAccessKey|SharedAccessSignature)=[^;\s]+"
        r"|[A-Za-z0-9_~.]{3}\dQ~[\w.~-]{31,34}|[A-Za-z0-9]{70,80}AZDO[A-Za-z0-9]{4}"
    ),
    "Alibaba, Tencent": r"LTAI[A-Za-z0-9]{16,}|AKID[A-Za-z0-9]{32,}",
    "DigitalOcean": r"do[opr]_v1_[a-f0-9]{40,}",
    "Cloudflare": r"v1\.0-[a-f0-9]{24}-[a-f0-9]{100,}",
    "Heroku, Netlify, Render": r"HRKU-[\w-]{30,}|nfp_[A-Za-z0-9]{30,}|rnd_[A-Za-z0-9]{24,}",
    "PlanetScale, Supabase": (
        r"pscale_(?:tkn|oauth|pw)_[\w=.-]{30,}|sbp_[a-f0-9]{40}|sb_secret_[\w-]{20,}"
    ),
    "Fly": r"fo1_[\w-]{40,}|fm[12][ar]?_[\w+/=-]{60,}",
    "Tailscale": r"tskey-[\w-]{20,}",
    # Places that keep secrets.
    "HashiCorp Vault": (
        r"hv[sbr]\.[\w-]{20,}"
        r"|s\.(?=[A-Za-z]*\d)(?=[a-z0-9]*[A-Z])[A-Za-z0-9]{24}(?![A-Za-z0-9])"
    ),
    "HashiCorp Terraform": r"[A-Za-z0-9]{14}\.atlasv1\.[\w=-]{50,}",
    "Doppler": r"dp\.(?:pt|st|ct|sa|scim|audit)\.[\w.-]{30,}",
    "1Password": r"ops_eyJ[\w+/=-]{40,}|A3-[A-Z0-9]{6}-[A-Z0-9]{6}-?[A-Z0-9]{5}(?:-[A-Z0-9]{5}){3}",
    "age": r"AGE-SECRET-KEY-1[0-9A-Z]{50,}",
    "private keys": (
        r"-----BEGIN [A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?-----|PuTTY-User-Key-File-\d: \S+"
    ),
    "JSON web tokens": r"eyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]*",
    "OpenShift": r"sha256~[\w-]{43}",
    # Messages and payments.
    "Slack": (
        r"xox[abeoprs](?:\.xox[bp])?-[A-Za-z0-9-]{10,}|xapp-\d-[A-Za-z0-9-]{10,}"
        r"|hooks\.slack\.com/(?:services|workflows|triggers)/[\w/]{20,}"
    ),
    "Discord": r"discord(?:app)?\.com/api/webhooks/\d+/[\w-]+",
    "Teams": r"\w+\.webhook\.office\.com/webhookb2/[\w@-]+/IncomingWebhook/[\w/-]+",
    "Telegram": r"\d{8,10}:AA[\w-]{33}",
    "SendGrid, Brevo": r"SG\.[\w-]{16,}\.[\w-]{16,}|xkeysib-[\w-]{60,}",
    "Twilio": r"SK[a-f0-9]{32}",
    "Stripe": r"(?:sk|rk)_(?:live|test|prod)_[A-Za-z0-9]{10,}|whsec_[A-Za-z0-9+/]{24,}",
    "Square, Shopify": r"sq0(?:atp|csp)-[\w-]{20,}|shp(?:at|ca|pa|ss)_[a-fA-F0-9]{32}",
}
