"""What tightfit does, verb by verb: the sentence, the words and the examples that help shows and parsing goes by.

A verb is carried out by a module that is named here and imported when it is asked for, so help waits for nothing.
"""

from __future__ import annotations

from tightfit.commands.words import Verb, Word, fraction, one_of_so_many, text, truth, whole_number

FOLDER = "runs/scratch/0123456789ab"  # of a run, in examples
TRUSTED = Word("trust", "true where the run names a model or a data set that is code of your own", "false", truth)

RUN = Verb(
    "run",
    "Train one model by one method under one budget, and record it.",
    "tightfit.launch.run",
    takes_a_run=True,
    about=(
        "Several values with commas make a sweep, which ends in a table of what differs between its runs and what they "
        "reached; `hydra/launcher=all_cores` runs it on all cores, and `experiments=NAME` is a whole one. A run that "
        "was stopped goes on where it stood when asked for again."
    ),
    examples=(
        "tightfit run optimizer=mezo dataset=fashion_mnist memory_budget=rpi_zero2_512mb seed=3",
        "tightfit run optimizer=bp_sgd,mezo seed=0,1,2 hydra/launcher=all_cores",
        "tightfit run --config-dir ./my_conf model=my_mlp",
    ),
    former="tightfit.run",
)
REPRODUCE = Verb(
    "reproduce",
    "Run experiments from start to table.",
    "tightfit.launch.reproduce",
    words=(
        Word("jobs", "runs side by side; one per core where it is left out", read=whole_number),
        Word("launcher", "all_cores, stacked, slurm or ray: where and how the runs are made", default="all_cores"),
    ),
    named="experiment",
    such_as="elasticzo/table1",
    takes_a_run=True,
    about=(
        "Says how long it will take on this machine, runs what is missing on all cores and prints the table. "
        "Interrupt it at any moment and run it again: it continues. Beside these it takes the words of a run."
    ),
    examples=(
        "tightfit reproduce elasticzo/table1 profile=short",
        "tightfit reproduce elasticzo/table1 elasticzo/table1_int8 dataset=mnist seed=0,1 jobs=1",
    ),
    former="tightfit.reproduce",
)
PLAN = Verb(
    "plan",
    "Say what fits on which device, before anything is trained or downloaded.",
    "tightfit.plan.__main__",
    words=(
        Word("memory_budget", "a device with its memory, or a plain size such as 17GB; also device=", "phone_4gb"),
        Word("model", "a model, or a config.json of Hugging Face's form or a folder with one", "smollm2_135m"),
        Word("optimizer", "a method, as a run composes it", "bp_adam,bp_adam_checkpointed,elastic_zo,mezo,p_rge"),
        Word("dataset.sequence_length", "tokens of an example", "512"),
        Word("training.batch_size", "examples of a step", "8"),  # on-device MeZO, Fig. 4
        Word("format", "table, json or csv", "table"),
        Word("picture", "a file to draw the plan to, such as plan.png", ""),
    ),
    about=(
        "Bytes, the cost of a step, and the largest batch, sequence and model that fit: the method itself is asked, of "
        "a table of the model's operations. Several values with commas make every combination. Methods are those of a "
        "run: optimizer=bp optimizer/rule=adam adapter=lora_4bit. Overrides: assumptions.rho=1, optimizer.queries=4, "
        "device.flops_per_second=1e12, device.reserve=1GiB (which the system holds), model.layers=24. The table ends "
        "in a sentence for each model on each device; what cannot be is told in one too."
    ),
    examples=(
        "tightfit plan memory_budget=phone_4gb model=llama2_7b,gpt2_medium optimizer=bp_adam,mezo",
        "tightfit plan memory_budget=17GB model=path/to/Llama-3.2-1B format=csv",
    ),
    former="tightfit.plan",
)
LAYERS = Verb(
    "layers",
    "Show what a run's bytes are, operation by operation.",
    "tightfit.plan.layers",
    words=(Word("csv", "true prints the operations alone, in bytes", "false", truth),),
    takes_a_run=True,
    about=(
        "Prints every operation of a forward pass over a batch, from a pass without data: the elements of "
        "parameters it reads, the bytes it reads and makes, and those that autograd keeps of them under this "
        "optimizer (were nothing computed again); then what a step holds in each convention. Beside `csv` it "
        "takes the words of a run."
    ),
    examples=(
        "tightfit layers model=lenet5 dataset=mnist optimizer=bp_adam",
        "tightfit layers optimizer=elastic_zo optimizer.bp_layers=2 csv=true",
    ),
    former="tightfit.layers",
)
REPLAY = Verb(
    "replay",
    "Rebuild the weights of a zeroth-order run from its losses.",
    "tightfit.run.replay",
    words=(TRUSTED,),
    named="folder of a run",
    such_as=FOLDER,
    about=(
        "The starting model is built as the run's record says, every step is made again with the losses noted "
        "instead of forward passes, and the sha256 of the weights must be the one on record. Exact on the kind of "
        "device that trained."
    ),
    examples=(f"tightfit replay {FOLDER}",),
    former="tightfit.replay",
)
GAIN = Verb(
    "gain",
    "Say what training changed, example by example.",
    "tightfit.run.gain",
    words=(Word("csv", "a file to append the numbers to"), TRUSTED),
    named="folder of a run",
    such_as=FOLDER,
    about=(
        "A run's model is scored as it began and as it ended on the same examples, of which a run may have scored "
        "but a part (`dataset.test_limit`): all of the split are taken here. Examples that both get right, or "
        "both get wrong, say nothing about the difference, so its interval is narrower than those of the two "
        "accuracies."
    ),
    examples=("tightfit gain runs/on_device_mezo/fine_tuning/* csv=gains.csv",),
    former="tightfit.gain",
)
PREDICT = Verb(
    "predict",
    "Let a trained model answer.",
    "tightfit.use.predict",
    words=(
        Word("run", "a run that finished: its folder or its key", is_needed=True),
        Word("text", "a text, where the run's template names one column"),
        Word("file", "texts in a .jsonl, .tsv, .csv or .txt file with the columns of the run's data, or an image"),
        Word("out", "a .csv file to append answers and probabilities to, instead of showing them"),
        TRUSTED,
    ),
    about=(
        "The model is built as the run's record says, and given the weights that the run left. Texts are answered "
        "without the data that it was trained on. Only tensors are read of the weights, never code."
    ),
    examples=(
        'tightfit predict run=0123456789ab text="a fine film"',
        "tightfit predict run=0123456789ab file=new.tsv out=answers.csv",
    ),
)
SCORE = Verb(
    "score",
    "Say how right a trained model is on other data.",
    "tightfit.use.score",
    words=(
        Word("run", "a run that finished: its folder or its key", is_needed=True),
        Word("file", "texts with labels, with the columns of the run's data: all rows are scored"),
        TRUSTED,
    ),
    takes_a_run=True,
    about=(
        "Without `file`, the scored split of a data set: that of the run, with settings changed by dataset.NAME=…, or "
        "another one, dataset=NAME. Of the words of a run, it takes those of the data set."
    ),
    examples=(
        "tightfit score run=0123456789ab file=other.tsv",
        "tightfit score run=0123456789ab dataset.scored=validation",
        "tightfit score run=0123456789ab dataset=fashion_mnist",
    ),
)
EXPORT = Verb(
    "export",
    "Write a run's model for other programs, or its training as a program for a device.",
    "tightfit.program.export",
    words=(
        Word("run", "a run that finished, for programs one of optimizer=p_rge: its folder or its key", is_needed=True),
        Word("format", "huggingface, peft or safetensors; a program: executorch, onnx or torch_export", "executorch"),
        Word("out", "the folder to write to; by default one of the format's name in that of the run"),
        TRUSTED,
    ),
    about=(
        "huggingface: a folder that from_pretrained of transformers loads, with low-rank updates merged; peft: the "
        "updates alone, which PeftModel.from_pretrained loads; safetensors: all weights of any model, by the names "
        "that they have here, for start_from=FOLDER. Beside a program, which holds the model and takes one training "
        "step a call, lie a manifest and the examples in tokens: all that `tightfit train-program` needs. Its files "
        "are kept only if the program's first steps are those of the run in the framework."
    ),
    examples=(
        "tightfit export run=0123456789ab format=huggingface out=my_model",
        "tightfit export run=0123456789ab format=onnx",
    ),
    former="tightfit.export",
)
TRAIN_PROGRAM = Verb(
    "train-program",
    "Train an exported program by a stock runtime, as a device would.",
    "tightfit.program.train",
    words=(
        Word("program", "the file that `tightfit export` wrote", is_needed=True),
        Word("data", "the file of batches; by default the one beside the program"),
        Word("steps", "fewer steps than the data have batches for", read=whole_number),
        Word("out", "the folder to write to; by default that of the program"),
        Word("threads", "of the runtime", "1", whole_number),
    ),
    about=(
        "Neither the model's code nor autograd is used: batches are read one at a time, and the host turns the "
        "two losses of each direction into the slope that the next call updates by. Leaves the losses "
        "(losses.f32), the adapters (adapters.safetensors) and what it cost (device_train.json)."
    ),
    examples=(f"tightfit train-program program={FOLDER}/on_device/onnx/program.onnx",),
    former="tightfit.device_train",
)
SCORE_PROGRAM = Verb(
    "score-program",
    "Score the adapters that a program trained, in the framework.",
    "tightfit.program.score",
    words=(
        Word("run", "the run that was exported: its folder or its key", is_needed=True),
        Word("adapters", "the file of adapters that `tightfit train-program` wrote", is_needed=True),
        TRUSTED,
    ),
    about="The model and the data are built as the run's record says; only the adapters come from the file.",
    examples=("tightfit score-program run=0123456789ab adapters=adapters.safetensors",),
    former="tightfit.device_score",
)
BENCH = Verb(
    "bench",
    "Measure what a step costs on this machine.",
    "tightfit.bench.__main__",
    words=(
        Word(
            "part",
            "targets (ten minutes), shelf, steps, language, programs, load (tables), page (browser) or overhead",
            "targets",
        ),
        Word("full", "language, programs: true for every model and size", "false", truth),
        Word("only", "language, programs: those whose title has this text, such as 135M", "", text),
        Word("threads", "language: one per core where it is left out", read=whole_number),
        Word("rounds", "programs: each model with each once; 3 where it is left out", read=whole_number),
        Word("csv", "all but steps: a file to append the numbers to"),
    ),
    about=(
        "Two pieces of work are timed in turn, so that a machine that slows down slows both; medians of the "
        "ratios are shown with their quartiles."
    ),
    examples=("tightfit bench", "tightfit bench part=language full=true csv=steps.csv"),
    former="tightfit.bench",
)
DATA = Verb(
    "data",
    "Fetch data sets into the cache and say what they are.",
    "tightfit.datasets.__main__",
    named="data set",
    such_as="mnist or fashion_mnist",
    about="The verb knows mnist and fashion_mnist; other data sets are fetched by the first run that uses them.",
    examples=("tightfit data mnist fashion_mnist",),
    former="tightfit.datasets",
)
DEMO = Verb(
    "demo",
    "Train one network in three ways, in about a minute, and draw what that gave.",
    "tightfit.launch.demo",
    words=(
        Word("seconds", "of training for each of the three runs", "15", whole_number),
        Word("dataset", "mnist, fashion_mnist, or one of your own with images of 28×28", "mnist"),
    ),
    about=(
        "Backpropagation, a hybrid and MeZO, with rates that show learning within seconds. The commands are shown; the "
        "runs and the picture are kept in demo/ of the folder of runs, and taken from there when asked for again."
    ),
    examples=("tightfit demo", "tightfit demo seconds=60 dataset=fashion_mnist"),
)
CHOOSE_UPDATE = Verb(
    "choose-update",
    "Choose which biases and channels of a quantized model to train within a budget.",
    "tightfit.launch.choose_update",
    words=(Word("shares", "of a layer's input channels, those that may be trained", "0.125,0.25,0.5,1"),),
    takes_a_run=True,
    about=(
        "Each part is trained alone by a run, on record and without a budget, and scored on held-out training "
        "examples; of all choices that the budget allows, the one with the largest sum of gains is printed, as words "
        "of a run. Beside `shares` it takes the words of a run."
    ),
    examples=(
        (
            "tightfit choose-update model=lenet5_qas optimizer=bp memory_budget=mcu_256kib_sram_1mib_flash "
            "dataset.held_out=5000 training.batch_size=8"
        ),
    ),
)
FEDERATED = Verb(
    "federated",
    "Train one model by many unreliable devices, which send seeds and slopes alone.",
    "tightfit.federated.__main__",
    words=(
        Word("rounds", "serve, simulate: until the federation is over; 20 where it is left out", read=whole_number),
        Word("contributions", "serve, simulate: that make a round; 10 where it is left out", read=whole_number),
        Word("steps", "serve, simulate: of a client in a round; 5 where it is left out", read=whole_number),
        Word("log", "serve: the file of accepted contributions, federation.sqlite where it is left out; simulate: too"),
        Word("host", "serve: the address to listen at; 127.0.0.1, this machine alone, where it is left out"),
        Word("port", "serve: 8000 where it is left out", read=whole_number),
        Word(
            "patience",
            "seconds: serve ends a round without the others, join looks for the service; 600",
            read=whole_number,
        ),
        Word("url", "join: where the service is; http://127.0.0.1:8000 where it is left out"),
        Word("client", "join: a name that no other client has (needed)"),
        Word("share", "join: 3/100 takes the third of a hundred parts of the training examples", read=one_of_so_many),
        Word("out", "join: a folder for the last weights, for start_from=FOLDER"),
        Word("clients", "simulate: how many; 100 where it is left out", read=whole_number),
        Word("faults", "simulate: the share of visits in which something goes wrong; 0", read=fraction),
        Word("csv", "simulate: a file to append the numbers to"),
    ),
    named="role",
    such_as="serve, join or simulate",
    takes_a_run=True,
    about=(
        "serve keeps the log and join is one device, which both say the same words of a run, with optimizer=seed_pool "
        "and a finite optimizer.clip. Whoever is stopped goes on when started again: a server from its log, a client "
        "from the sums. simulate is both, many times, in one process. There is no encryption and no password: serve to "
        "a network that you trust."
    ),
    examples=(
        "tightfit federated serve experiments=federated/lenet5 rounds=100",
        "tightfit federated join client=kitchen share=3/100 experiments=federated/lenet5",
        "tightfit federated simulate experiments=federated/lenet5 clients=100 faults=0.3",
    ),
)
EXPLAIN = Verb(
    "explain",
    "Show the runs behind a cell of a table.",
    "analysis.explain",
    named="cell of a table",
    such_as="'elasticzo/table1[mnist_fp32, cls1]'",
    about=(
        "Their settings, machine, commit and digests, those that were superseded and why, and the command that "
        "makes one again."
    ),
    examples=("tightfit explain 'elasticzo/table1[mnist_fp32, cls1]'",),
)
LS = Verb(
    "ls",
    "List your runs in words.",
    "tightfit.launch.ls",
    words=(
        Word(
            "runs",
            "a folder of runs or of offline W&B files, or wandb:ENTITY/PROJECT; $TIGHTFIT_RUNS or runs by default",
        ),
    ),
    about=(
        "A line for each run, by its experiment and when it was started: its key, which other verbs take as run=…, its "
        "parts, what else differs from others of the experiment, how it ended and what it reached."
    ),
    examples=("tightfit ls", "tightfit ls runs=runs/scratch"),
)
REPORT = Verb(
    "report",
    "Make a page of all answers, or of your own runs, that opens from disk.",
    "tightfit.launch.report",
    words=(
        Word("runs", "your own, as for ls; the committed records where it is left out"),
        Word("group", "own runs: the setting that is a colour, such as optimizer", "optimizer"),
        Word(
            "x", "own runs: what accuracy is shown over: train_seconds, step, epoch or forward_passes", "train_seconds"
        ),
        Word("facet", "own runs: the setting that is a tab", "memory_budget"),
        Word("map", "own runs: two settings to draw accuracy over, such as optimizer.lr,optimizer.eps"),
        Word("out", "the folder for the report", "report"),
    ),
    about=(
        "Accuracy against bytes and by seconds for each budget, the papers' tables, memory predicted and measured, "
        "what a step costs, and a page for each run with its settings, code, data, machine and the command that makes "
        "it again; all tables as CSV and LaTeX. Of your own runs every setting that differs between them is a column."
    ),
    examples=(
        "tightfit report",
        "tightfit report runs=runs/scratch group=optimizer x=train_seconds facet=memory_budget",
    ),
)
VERBS = {
    verb.name: verb
    for verb in (
        *(RUN, REPRODUCE, PLAN, LAYERS, REPLAY, GAIN, PREDICT, SCORE, EXPORT, TRAIN_PROGRAM, SCORE_PROGRAM),
        *(BENCH, DATA, DEMO, CHOOSE_UPDATE, FEDERATED, EXPLAIN, LS, REPORT),
    )
}
