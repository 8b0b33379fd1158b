"""Texts that must not be shown."""

from __future__ import annotations

import html
import json
import shlex
from base64 import b64encode, encodebytes
from urllib.parse import quote, urlencode

import markupsafe
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jinja2.utils import htmlsafe_json_dumps

from scflows.secrets.encodings import encodings_of
from scflows.secrets.masking import Mask, MaskedOutput


def wrapped(text: str, width: int) -> bytes:
    return "\n".join(text[place : place + width] for place in range(0, len(text), width)).encode()


def mask_of(*texts: str) -> Mask:
    mask = Mask()
    mask.add(texts)
    return mask


def test_the_longest_goes_first():
    assert mask_of("abcd", "abcdef").text("abcdef abcd abc") == "*** *** abc"


def test_values_and_keys_are_masked_and_special_names_stay():
    value = {"__errors__": ["no error"], "error": {"an error": 12345, "n": True, "f": None}}
    assert mask_of("error", "12345").value(value) == {
        "__errors__": ["no ***"],
        "***": {"an ***": "***", "n": True, "f": None},
    }


def test_a_beginning_that_a_library_shows_is_masked():
    mask = mask_of("abcdefghij")
    assert mask.text('string ("abcdefg...) is no number; abcdefg') == 'string ("***...) is no number; abcdefg'
    assert mask.text("abcdef\ufffd… abc...") == "***… abc..."


def test_who_listens_is_told_of_new_texts_alone():
    mask, told = Mask(), []
    mask.listeners.append(told.append)
    mask.add(["abcd"])
    mask.add(["abcd"])
    mask.add(["abcd", "efgh"])
    assert told == [["abcd"], ["efgh"]]


def test_output_is_masked_whatever_pieces_it_comes_in():
    for size in (1, 3, 7, 1000):
        written: list[bytes] = []
        output = MaskedOutput(mask_of("s3cr3t"), written.append)
        text = b"a s3cr3t\nand s3cr3t again\xff\n" + b"x" * 70_000 + b"s3cr3t" + b"y" * 70_000 + b" s3cr3t"
        for place in range(0, len(text), size):
            output.feed(text[place : place + size])
        output.close()
        whole = b"".join(written)
        assert whole.startswith(b"a ***\nand *** again\xff\n")
        assert b"s3cr3t" not in whole
        assert whole.count(b"***") == 4


@settings(max_examples=150, deadline=None)
@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=4, max_size=40), st.text(max_size=5))
def test_a_secret_is_found_in_whatever_holds_it(secret, before):
    if len(secret.strip()) < 4:
        return
    mask = mask_of(*encodings_of(secret))
    content = secret.encode()
    for text in (
        f"{before}{secret}",
        repr(secret),
        repr([secret, content]),
        quote(secret),
        quote(secret, safe=""),
        urlencode({"q": secret}),
        b64encode(content).decode(),
    ):
        assert "***" in mask.text(text)
    # What stays of a longer text that was encoded is less than one of the secret's characters at either end.
    assert "***" in mask.text(b64encode(before.encode("utf-8", "replace") + content + b"tail").decode())


SECRET = "Zq7\"x'y<K&Lm9 w/0rd,~ü"


@pytest.mark.parametrize(
    "shown",
    [
        SECRET.encode().hex(),
        SECRET.encode().hex().upper(),
        SECRET.encode().hex(":").upper(),
        SECRET.encode().hex(" "),
        htmlsafe_json_dumps(SECRET),
        htmlsafe_json_dumps({"deep": [SECRET]}),
        json.dumps(SECRET, ensure_ascii=False).replace("<", r"\u003c").replace("&", r"\u0026"),
        json.dumps(SECRET)[1:-1].replace("<", r"\u003C").replace("&", r"\u0026").replace("'", r"\u0027"),
        r"Zq7\u0022x\u0027y\u003CK\u0026Lm9 w\/0rd,~\u00fc",
        str(markupsafe.escape(SECRET)),
        html.escape(SECRET),
        "Zq7&quot;x&#039;y&lt;K&amp;Lm9 w/0rd,~ü",
        "Zq7&#x22;x&apos;y&lt;K&amp;Lm9 w/0rd,~ü",
        shlex.quote(SECRET),
        "'Zq7\"x'\\''y<K&Lm9 w/0rd,~ü'",
        '"Zq7\\"x\'y<K&Lm9 w/0rd,~ü"',
        "Zq7\\\"x\\'y\\<K\\&Lm9\\ w/0rd\\,~ü",
        quote(SECRET, safe="!'()*~"),
        quote(SECRET, safe=";/?:@&=+$,#!'()*~"),
        quote(quote(SECRET, safe=""), safe=""),
        b64encode(b"user:" + SECRET.encode() + b"!").decode(),
    ],
)
def test_every_form_that_the_documents_name_is_found(shown):
    masked = mask_of(*encodings_of(SECRET)).text(f"before {shown} after")
    assert "***" in masked
    # Less than one of its characters may stay at either end of a form that is encoded in groups.
    assert len(masked) < len("before *** after") + 16
    assert "Lm9" not in masked


@pytest.mark.parametrize("encode", [encodebytes, lambda content: wrapped(content.hex().upper(), 60)])
@pytest.mark.parametrize("separator", ["\n", "\r\n", "\n    ", "\\n"])
def test_a_secret_that_is_broken_over_lines_is_found(encode, separator):
    secret = "tok-9f8e7d6c5b4a39281706aabbccdd-and-more-of-it-so-that-it-needs-two-ends-of-lines-or-three"
    for short in (secret, secret[:24]):
        mask = mask_of(*encodings_of(short))
        plain = encode(short.encode()).split(b"\n")
        for length in range(95):
            text = encode(bytes(length) + short.encode() + b"\0" * 30).decode().rstrip("\n").replace("\n", separator)
            masked = mask.text(f"log:\n{text}\nend")
            assert (masked[:5], masked[-4:]) == ("log:\n", "\nend")
            left = masked.replace("***", "").replace(separator, "").replace("A", "").replace("0", "")
            # Of each end, the characters that belong to a neighbour too.
            assert len(left) <= len("log:\n\nend") + 4, (length, masked)
            assert plain[0][4:20].decode() not in masked


def test_text_that_only_looks_broken_stays():
    mask = mask_of(*encodings_of("tok-9f8e7d6c5b4a39281706aabbccdd"))
    text = f"{'A' * 76}\n{'B' * 76}\ntok\n{'tok-9f8e7d6c'}\n{'C' * 76}to\nk-9\n"
    assert mask.text(text) == text


def test_what_a_program_prints_over_lines_is_masked_in_the_log(run_flow, workspace):
    folder = workspace / "data"
    folder.mkdir()
    (folder / "secrets.yml").write_text("- {name: tok, type: token, token: tok-9f8e7d6c5b4a39281706aabbccdd}\n")
    (folder / "secrets.yml").chmod(0o600)
    run = run_flow("""
        steps:
          - name: a
            type: shell
            shell:
              command: (head -c 50 /dev/zero; printf %s "$T") | base64
              env: {T: "{{ secret('tok').token }}"}
          - {name: b, type: debug, debug: {data_key: a, type: json}}
    """)
    assert run.status == "success", run.message
    encoded = b64encode(bytes(50) + b"tok-9f8e7d6c5b4a39281706aabbccdd").decode()
    for begin in range(70, len(encoded) - 8):
        assert encoded[begin : begin + 8] not in run.log, run.log
    assert "stdout: ***" in run.log
