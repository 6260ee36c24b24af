"""Texts that break pages, documents, pictures and terminals which do not expect them."""

from __future__ import annotations

MARK = "data-pwned"
"""Attribute that a payload which runs would set on the root of a page."""
_RUN = f"document.documentElement.setAttribute('{MARK}', 1);alert(1)"

HOSTILE = (
    f"<script>{_RUN}</script>",
    f"</script><script>{_RUN}</script>",
    "<!--<script>",
    "<!-- <script> --!>",
    "</style><style>*{display:none}</style>",
    f"</title></head><body onload={_RUN.replace(' ', '')}>",
    f'<img src=x onerror="{_RUN}">',
    f"<svg/onload={_RUN.replace(' ', '')}>",
    f"\"><img src=x onerror='{_RUN}'>",
    f"' onmouseover='{_RUN}' x='",
    f"javascript:{_RUN}",
    '<iframe src="https://example.org/"></iframe>',
    '<link rel=stylesheet href="https://example.org/x.css">',
    '<meta http-equiv="refresh" content="0;url=https://example.org/">',
    "{{ 7 * 7 }}{% raw %}{{ config }}",
    "${alert(1)}`+alert(1)+`",
    "\\u003cscript\\u003e \\' \\\" \\",
    "]]><![CDATA[&amp;&#0;&lt;",
    '<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]>&e;',
    "line\u2028separator\u2029paragraph",
    "two\nlines\tand a tab",
    "$x_{",
    r"\frac{1}{0} $\mathrm{$ ^_ %",
    "[/red][bold]:warning:[link=https://example.org]x[/link]",
    "'; DROP TABLE sites; --",
    "100 % %s %(name)s {0} {title}",
    "_hidden",
    "  spaces around  ",
    "‮right to left‬, ﷽, 𝕫, é, 土壤水分, 🌍",
    "a" * 5000,
    "STATISTICS_MINIMUM=1=2",
)
"""Thirty-one texts; none has a control character, which a config may not have."""
