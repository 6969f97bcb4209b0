"""What cannot be read: the files, by name, and what a run on them says."""

from .case import TEXT, WORDS, fails, reads

ROWS = "".join(f'{{"text": "a film {i}", "label": "{("bad", "good")[i % 2]}"}}\n' for i in range(60))
TABLE = "text\tlabel\n" + "".join(f"a film {i}\t{('bad', 'good')[i % 2]}\n" for i in range(60))
FILES: dict[str, bytes] = {
    "empty.jsonl": b"",
    "blank.jsonl": b"\n\n",
    "header.tsv": b"text\tlabel\n",
    "good.jsonl": ROWS.encode(),
    "good.tsv": TABLE.encode(),
    "cut.jsonl": ROWS.encode()[:-8],
    "list.jsonl": b'["a film", "bad"]\n',
    "number.jsonl": b"3\n",
    "nolabel.jsonl": b'{"text": "a film"}\n',
    "notext.jsonl": b'{"label": "bad"}\n',
    "null.jsonl": b'{"text": null, "label": "bad"}\n',
    "blanktext.jsonl": b'{"text": "  ", "label": "bad"}\n',
    "other.jsonl": b'{"text": "a film", "label": "ugly"}\n',
    "latin.tsv": TABLE.replace("film", "fêté").encode("latin-1"),
    "utf16.jsonl": ROWS.encode("utf-16"),
    "binary.jsonl": bytes(range(256)),
    "nested.jsonl": b"[" * 100_000 + b"\n",
    "wide.csv": ("text,label\n" + "x" * 140_000 + ",bad\n").encode(),
    "semicolon.csv": TABLE.replace("\t", ";").encode(),
    "short.tsv": b"text\tlabel\na film\n",
    "few.jsonl": "".join(ROWS.splitlines(keepends=True)[:3]).encode(),
    "file.txt": b"a film\tbad\n",
    "no.pte": b"no program",
    "no.json": b"{",
    "list.pte": b"no program",
    "list.json": b"[1]",
}
CASES = [
    *(reads(name, name) for name in ("empty.jsonl", "blank.jsonl", "header.tsv", "binary.jsonl", "utf16.jsonl")),
    *(reads(name, name) for name in ("latin.tsv", "wide.csv")),
    reads("nowhere.tsv", "nowhere.tsv"),
    reads("cut.jsonl row 60 is not valid JSON", "cut.jsonl"),
    reads("list.jsonl row 1 is", "list.jsonl"),
    reads("number.jsonl row 1 is '3', which has no columns", "number.jsonl"),
    reads("nested.jsonl row 1", "nested.jsonl"),
    reads("nolabel.jsonl has no 'label' (dataset.label); its columns are ['text']", "nolabel.jsonl"),
    reads("notext.jsonl has no 'text' (dataset.text)", "notext.jsonl"),
    reads("null.jsonl row 1: text is empty", "null.jsonl"),
    reads("blanktext.jsonl row 1: text is empty", "blanktext.jsonl"),
    reads("other.jsonl row 1: label 'ugly' has no verbalizer", "other.jsonl"),
    reads("semicolon.csv has no 'text'", "semicolon.csv"),
    reads("short.tsv row 1: label is empty", "short.tsv"),
    reads("choose fewer", "few.jsonl"),
    reads("file.txt is no file this reads; choose a .jsonl, .tsv or .csv file", "file.txt"),
    reads("dataset.verbalizers", "good.tsv", "dataset.verbalizers=[bad, good]"),
    *(
        fails(
            "run",
            "and null is no label here",
            *TEXT,
            "dataset.path={tmp}/good.tsv",
            f"{plus}dataset.verbalizers={said}",
        )
        for plus in ("", "+")
        for said in ("{null: No, 1: Yes}", "{1: Yes,NULL : No}")
    ),
    reads("a task has two classes or more", "good.tsv", "dataset.verbalizers={bad: terrible}"),
    reads("label 'good' has no verbalizer", "good.tsv", "dataset.verbalizers={bad: terrible, fair: fine}"),
    reads("must have the place of the answer", "good.tsv", *WORDS, "dataset.template=hello"),
    reads("nosuch", "good.tsv", *WORDS, "dataset.template='{nosuch} {label}'"),
    reads("dataset.scored='dev' is not a split", "good.tsv", *WORDS, "dataset.scored=dev"),
    *(
        reads(f"dataset.{name}={said}", "good.tsv", *WORDS, f"dataset.{name}={said}")
        for name in ("sequence_length", "train_size", "train_limit")
        for said in ("0", "1.5", "abc")
    ),
    *(
        reads(
            f"dataset.subset_seed={shown_as} is no whole number from 0",
            "good.tsv",
            *WORDS,
            f"dataset.subset_seed={said}",
        )
        for said, shown_as in (("1.5", "1.5"), ("-1", "-1"), ("true", "True"), ("abc", "abc"), ("null", "None"))
    ),
    fails("run", "dataset.title", *TEXT, "dataset.path={tmp}/good.tsv", *WORDS, "dataset.title=[1]"),
]
