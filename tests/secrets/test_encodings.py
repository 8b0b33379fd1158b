"""Texts that must not be shown."""

from __future__ import annotations

from base64 import b64encode
from urllib.parse import quote, urlencode

from hypothesis import given, settings
from hypothesis import strategies as st

from scflows.secrets.encodings import encodings_of
from scflows.secrets.masking import Mask, MaskedOutput


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
