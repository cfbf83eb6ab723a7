"""Damage to files: of any bytes, of JSON and text, and of what lies in a zip archive, with its checksums put right."""

import io
import json
import struct
import warnings
import zipfile
import zlib

EXTREMES = (0, 1, 2**7, 2**8 - 1, 2**15, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1, 2**63, 2**64 - 1)
ODD_NAMES = (
    *("", "a\nb", "\x00", "\x1b[31mred", "\u202egnp.exe", "../../x", "/etc/passwd", "$\\frac{$", "=1+1", "naïve 猫"),
    *("x" * 10_000, "\ud800", " ", "a,b;c\t'\"", "CON", "%s%n{0}"),
)
ODD_VALUES = (None, True, -1, 0, 1, 1e400, float("nan"), 2**63, 10**30, 0.5, [], {}, [[]], {"a": 1}, *ODD_NAMES)
ODD_WORDS = ("1e999", "-1", "nan", "9" * 5000, "[" * 20_000, "{a=" * 20_000, '"""', "1979-05-27", "true", "[]")


# ---- bytes -----------------------------------------------------------------------------------------------------------


def flip_bits(rng, content):
    """One to eight bits anywhere, half of the time near the beginning, where headers are."""
    content = bytearray(content)
    for _ in range(rng.choice((1, 1, 2, 8))):
        content[_place(rng, content)] ^= 1 << rng.randrange(8)
    return bytes(content)


def truncate(rng, content):
    return content[: rng.randrange(len(content))]


def remove_chunk(rng, content):
    start = _place(rng, content)
    return content[:start] + content[start + rng.choice((1, 4, 16, 64, 512)) :]


def repeat_chunk(rng, content):
    start = _place(rng, content)
    end = start + rng.choice((1, 4, 16, 64, 512))
    return content[:end] + content[start:end] * rng.choice((1, 1, 40)) + content[end:]


def overwrite(rng, content):
    start, length = _place(rng, content), rng.choice((1, 2, 4, 8, 64))
    filling = rng.choice((b"\x00", b"\xff", b"[", b"\x80", bytes([rng.randrange(256)]))) * length
    return content[:start] + filling + content[start + length :]


def extreme_number(rng, content):
    """A number of two to eight bytes, of either order, becomes one at the end of its range."""
    start, form = _place(rng, content), rng.choice("HIQ")
    form = rng.choice("<>") + form
    size = struct.calcsize(form)
    return content[:start] + struct.pack(form, rng.choice(EXTREMES) % 256**size) + content[start + size :]


def swap_chunks(rng, content):
    length = rng.choice((1, 4, 16, 64))
    first, second = sorted(_place(rng, content) for _ in range(2))
    middle = content[first + length : second]
    return content[:first] + content[second : second + length] + middle + content[first : first + length]


BYTES = (
    flip_bits,
    flip_bits,
    truncate,
    remove_chunk,
    repeat_chunk,
    overwrite,
    extreme_number,
    extreme_number,
    swap_chunks,
)


def damage(rng, content):
    """Any bytes, damaged in one way."""
    return rng.choice(BYTES)(rng, content or b"\x00")


def _place(rng, content):
    return rng.randrange(min(len(content), 128) if rng.random() < 0.5 else len(content))


# ---- JSON and text ---------------------------------------------------------------------------------------------------


def damage_json(rng, content):
    """A value somewhere replaced, removed or nested deeply; sometimes the text itself is damaged."""
    if rng.random() < 0.2:
        return damage(rng, content)
    if rng.random() < 0.1:
        return rng.choice(("[" * 100_000, '{"a":' * 100_000, '"', "null", "[]", "3", "9" * 5000)).encode()
    tree = json.loads(content)
    places = list(_places(tree))
    for _ in range(rng.choice((1, 1, 3)) if places else 0):
        holder, key = rng.choice(places)
        if rng.random() < 0.2:
            holder.pop(key) if isinstance(holder, dict) and key in holder else None
        else:
            holder[key] = rng.choice((*ODD_VALUES, *rng.choice(places)[:1]))
    try:
        return json.dumps(tree).encode()
    except (ValueError, RecursionError):  # it holds itself
        return b"{}"


def _places(tree):
    """(holder, key) of every value in a JSON tree."""
    for key, value in tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ():
        yield tree, key
        yield from _places(value)


def damage_text(rng, content):
    """A word of a text replaced by an odd one, a line moved, or bytes damaged."""
    lines = content.decode().split("\n")
    kind, index = rng.randrange(4), rng.randrange(len(lines))
    if kind == 0:
        return damage(rng, content)
    if kind == 1:
        lines.insert(rng.randrange(len(lines)), lines.pop(index))
    elif kind == 2:
        lines[index] *= rng.choice((0, 2, 50))
    else:
        words = [word for word in lines[index].replace(",", " ").split() if word] or ["x"]
        values = (
            *ODD_NAMES,
            "1e999",
            "-1",
            "nan",
            "9" * 5000,
            "[" * 20_000,
            "{a=" * 20_000,
            '"""',
            "1979-05-27",
            "true",
        )
        lines[index] = lines[index].replace(rng.choice(words), rng.choice(values))
    return "\n".join(lines).encode("utf-8", "surrogatepass")


# ---- archives and chunks ---------------------------------------------------------------------------------------------


def damage_zip(rng, content):
    """Members damaged, renamed, removed, swapped or doubled, in an archive whose checksums are right; or its bytes."""
    if rng.random() < 0.25:
        return damage(rng, content)
    members = unzip(content)
    kind, index = rng.randrange(6), rng.randrange(len(members))
    name, member = members[index]
    other = rng.randrange(len(members))
    if kind == 0:
        members[index] = (rng.choice(("../evil", "/tmp/evil", name + "x", name.upper(), "", members[other][0])), member)
    elif kind == 1:
        del members[index]
    elif kind == 2:
        members[index], members[other] = (name, members[other][1]), (members[other][0], member)
    else:
        members[index] = (name, (damage_json if name.endswith(".json") else damage)(rng, member))
    return rezip(members, rng.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)))


def unzip(content):
    """[(name, content)] of an archive."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return [(info.filename, archive.read(info)) for info in archive.infolist()]


def rezip(members, compression=zipfile.ZIP_STORED):
    """The archive of [(name, content)]."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a name that is there twice
        for name, member in members:
            archive.writestr(zipfile.ZipInfo(name), member, compression)
    return buffer.getvalue()


def damage_png(rng, content):
    """A chunk's content or order changed and its checksum put right, or bytes damaged."""
    if rng.random() < 0.3:
        return damage(rng, content)
    chunks, place = [], 8
    while place < len(content):
        (length,) = struct.unpack_from(">I", content, place)
        chunks.append((content[place + 4 : place + 8], content[place + 8 : place + 8 + length]))
        place += length + 12
    kind, index = rng.randrange(4), rng.randrange(len(chunks))
    name, body = chunks[index]
    if kind == 0:
        del chunks[index]
    elif kind == 1:
        chunks.insert(rng.randrange(len(chunks)), (name, body))
    else:
        chunks[index] = (name, damage(rng, body))
    parts = (struct.pack(">I", len(b)) + n + b + struct.pack(">I", zlib.crc32(n + b)) for n, b in chunks)
    return content[:8] + b"".join(parts)
