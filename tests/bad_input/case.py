"""How a case is written: the command, its words, its exit code, and what the line must say."""

Case = tuple[str, tuple[str, ...], int, str]
BARS = ("dataset._target_=tests.synthetic.bars", "tracker=local", "profile=smoke")
TEXT = ("model=llama_tiny", "tracker=local", "profile=smoke", "dataset=text_file")
WORDS = ("dataset.verbalizers={bad: terrible, good: great}", "dataset.validation_size=4", "dataset.test_size=4")


def runs(message: str, *words: str, code: int = 2) -> Case:
    return "run", (*BARS, *words), code, message


def recorded(message: str, *words: str) -> Case:
    """What only shows when the data and the model are there: a run that failed, and is on record as such."""
    return "run", (*BARS, *words), 1, message


def shown(message: str, *words: str) -> Case:
    return "layers", (*BARS, *words), 2, message


def planned(message: str, *words: str) -> Case:
    return "plan", words, 2, message


def reproduced(message: str, *words: str) -> Case:
    return "reproduce", ("noise/lenet5", *BARS, "optimizer.noise=gaussian", *words), 2, message


def reads(message: str, name: str, *words: str) -> Case:
    return "run", (*TEXT, f"dataset.path={{tmp}}/{name}", *(words or WORDS)), 1, message


def fails(command: str, message: str, *words: str, code: int = 2) -> Case:
    return command, words, code, message
