import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from claude_batch_dagster.core.asking.templates import Template, as_text
from claude_batch_dagster.errors import TemplateError


@given(document=st.text())
@example(document="{text} {0} {text.__class__} {{}} %s %(text)s ${x}")
@example(document='{"label": "war", "n": {"m": [1, 2]}}')
@example(document="\u2028 \x00 é é 🙂 \r\n")
def test_f12_a_document_arrives_byte_identical_whatever_it_holds(document: str) -> None:
    """Braces, percent signs, code and JSON of a document are never taken for a template."""
    template = Template.parse("Read:\n{text}\n<end>")

    assert template.fill({"text": document}) == f"Read:\n{document}\n<end>"


@given(literal=st.text(), document=st.text())
def test_f14_any_text_can_stand_in_a_template_with_its_braces_doubled(literal: str, document: str) -> None:
    """Text of the template itself arrives as it was written, once its braces are doubled."""
    doubled = literal.replace("{", "{{").replace("}", "}}")

    assert Template.parse(doubled + "{text}" + doubled).fill({"text": document}) == literal + document + literal


def test_columns_are_named_once_in_order_of_first_appearance() -> None:
    """A column that is named twice is read once."""
    template = Template.parse("{title}: {text} ({title})")

    assert (template.columns, template.fill({"title": "A", "text": 7})) == (("title", "text"), "A: 7 (A)")


@pytest.mark.parametrize(
    "placeholder",
    [
        "{text.__class__}",
        "{text.__class__.__init__.__globals__}",
        "{text[0]}",
        "{text!r}",
        "{text:>10}",
        "{text:>{width}}",
        "{}",
        "{0}",
        "{ text }",
        "{text text}",
        '{"label": 1}',
    ],
)
def test_f13_only_plain_names_of_columns_are_taken(placeholder: str) -> None:
    """Attributes, indexes, conversions and formats are refused when the template is read."""
    with pytest.raises(TemplateError, match=r"not the plain name of a column.*\{\{ and \}\}"):
        Template.parse(f"Summarize {placeholder}")


def test_half_a_surrogate_pair_is_refused() -> None:
    """It is no text: every row would be rejected for it."""
    with pytest.raises(TemplateError, match=r"character 10 is half of a surrogate pair. Remove it"):
        Template.parse("Summarize \ud800{text}")


@pytest.mark.parametrize("source", ["{", "}", "{text", "a } b", "{text}}", "{text!}", "{text[}"])
def test_f14_unbalanced_braces_are_refused_with_the_way_to_write_them(source: str) -> None:
    """The message says how to write a brace that is part of the text."""
    with pytest.raises(TemplateError, match=r"cannot be read .* Write \{\{ and \}\} for braces"):
        Template.parse(source)


def test_a_template_without_columns_is_plain_text() -> None:
    """No column need be named."""
    template = Template.parse("Say {{hello}}")

    assert (template.columns, template.fill({})) == ((), "Say {hello}")


@pytest.mark.parametrize(("value", "text"), [(b"caf\xc3\xa9", "café"), (1.5, "1.5"), ("x", "x"), (True, "True")])
def test_values_stand_in_a_prompt_as_text(value: object, text: str) -> None:
    """Bytes are read as UTF-8, anything else as Python writes it."""
    assert as_text(value) == text
