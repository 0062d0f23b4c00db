"""What the site adds: each component's name, import and defaults, and unbroken options."""

from __future__ import annotations

import html
import re
from typing import Any

from dcm.cli.fields import fields_of
from dcm.plugins import installed


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    if page.file.src_uri != "reference/components.md":
        return markdown
    known = {each.component.target.replace(":", "."): each for each in installed().all()}
    known |= {f"dcm.{each.load().__name__}": each for each in known.values()}

    def with_fields(found: re.Match[str]) -> str:
        each = known.get(found[1])
        if each is None:
            return found[0]
        module, _, cls = each.component.target.partition(":")
        lines = [found[0], "", f"`{each.name}` · `from {module} import {cls}`", ""]
        fields = fields_of(each.load())
        if fields:
            lines += ["| field | type | default |", "|---|---|---|"]
        for name, field in fields.items():
            default = "required" if field.required else f"`{_text(field.default_form())}`"
            kind = html.escape(field.annotation).replace("|", "\\|")
            lines.append(f"| `{name}` | {kind} | {default} |")
        return "\n".join(lines)

    return re.sub(r"^::: ([\w.]+)\n    options: .*$", with_fields, markdown, flags=re.MULTILINE)


def on_page_content(content: str, **_: Any) -> str:
    def on_one_line(code: re.Match[str]) -> str:
        # A browser would break a line behind the two hyphens.
        return re.sub(
            r"(?<![\w-])--[a-z][\w-]*(?![^<]*>)", r'<span class="option">\g<0></span>', code[0]
        )

    return re.sub(r"<code\b.*?</code>", on_one_line, content, flags=re.DOTALL)


def _text(value: Any) -> str:
    if isinstance(value, dict) and "name" in value:
        return str(value["name"])
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return f"[{', '.join(each['name'] for each in value)}]"
    return repr(value)
