"""What the words of a run cannot mean."""

from .case import TEXT, WORDS, fails, recorded, runs, shown

SEEDS = [
    runs(f"seed={said} is no whole number from 0", f"seed={said}") for said in ("1.5", "true", "-1", "abc", "null")
]
THREADS = [runs(f"threads={said} is no whole number from 1", f"threads={said}") for said in ("0", "-1", "1.5", "true")]
AMOUNTS = [
    runs(f"training.{name}={shown_as} is no amount of training; write a number above 0", f"training.{name}={said}")
    for name in ("epochs", "seconds")
    for said, shown_as in (("-1", "-1"), ("0", "0"), ("nan", "nan"), ("inf", "inf"), ("true", "True"), ("ten", "'ten'"))
] + [
    runs("training.fraction=0 is no amount", "training.fraction=0"),
    runs("training.epochs=None", "training.epochs=null"),
]
COUNTS = [
    runs(f"training.{name}={shown_as} counts nothing; write a whole number from 1", f"training.{name}={said}")
    for name in ("batch_size", "evaluations", "batch_limit")
    for said, shown_as in (("0", "0"), ("-3", "-3"), ("1.5", "1.5"), ("true", "True"), ("huge", "'huge'"))
]
LIMITS = [
    runs(f"dataset.{name}={said} is not a whole number or null", f"dataset.{name}={said}")
    for name in ("train_limit", "test_limit")
    for said in ("1.5", "true", "many")
] + [
    fails(
        "run", f"dataset.{name}=1.5 is not a whole number", "tracker=local", f"dataset={dataset}", f"dataset.{name}=1.5"
    )
    for dataset, name in (
        *(("rotated_mnist_30", name) for name in ("subset_seed", "train_size", "test_size", "held_out")),
        ("modelnet40", "points"),
        ("mnist_points", "points"),
        ("mnist_points", "threshold"),
    )
]
UNKNOWN = [
    runs("init_from is no setting of a run; write start_from; it has optimizer, model", "+init_from=x"),
    runs("checkpoint is no setting of a run", "+checkpoint=x"),
    runs("sed is no setting of a run; write seed; it has", "+sed=1"),
    runs("optimizer.nosuch is no setting of MeZO; it has lr, eps", "+optimizer.nosuch=1"),
    runs("optimizer.querys is no setting of MeZO; write optimizer.queries; it has", "+optimizer.querys=1"),
    runs("optimizer.lr.gamma is no setting of StepDecay; it has initial", "+optimizer.lr.gamma=1"),
    runs("training.epoch is no setting of training; write training.epochs; it has", "+training.epoch=1"),
    runs("paths.run is no setting of paths; write paths.runs", "+paths.run=x"),
    runs(
        "memory_budget.enforced is no setting of MemoryBudget; write memory_budget.enforce", "+memory_budget.enforced=1"
    ),
    runs("tracker.mode is no setting of LocalOnly; it has none", "+tracker.mode=online"),
    runs("model.classes is no setting of lenet5; it has none", "+model.classes=3"),
    runs("model.width is no setting of lenet5", "+model.width=3"),
    runs("cell.rows is no setting of cell; write cell.row", "+cell.rows=3"),
    runs("pretraining.optimiser is no setting of pretraining; write pretraining.optimizer", "+pretraining.optimiser=3"),
    runs("smaller.modle is no setting of smaller; write smaller.model", "+smaller.modle=3"),
    fails(
        "run",
        "dataset.test_path is no setting of mnist; write dataset.test_limit; it has name",
        "tracker=local",
        "+dataset.test_path=x",
    ),
    fails(
        "run",
        "dataset.test_path is no setting of",
        *TEXT,
        *WORDS,
        "dataset.path={tmp}/good.tsv",
        "+dataset.test_path=x",
        code=1,
    ),
    runs("training.epoch is no setting of training; write training.epochs; it has", "training.epoch=1"),
    runs(
        "training.epoch is no setting of training; write training.epochs; it has",
        "seed=0,1",
        "training.epoch=1",
        code=1,
    ),
    runs("optimizer.querys is no setting of MeZO; write optimizer.queries; it has", "optimizer.querys=1"),
    runs("optimizer.rule is no setting of MeZO; it has lr, eps", "optimizer.rule.beta1=1"),
    runs("optimizer.lr.gamma is no setting of StepDecay; it has initial", "optimizer.lr.gamma=1"),
    runs("optimizer.rule.beta is no setting of Adam; write", "optimizer=bp_adam", "optimizer.rule.beta=1"),
    runs("memory_budget.enforce=true but unlimited has no size", "memory_budget.enforce=true"),
    runs("memory_budget.enforced is no setting of MemoryBudget", "memory_budget=17GB", "memory_budget.enforced=true"),
    runs("tracker.mode is no setting of LocalOnly; it has none", "tracker.mode=online"),
    runs("model.width is no setting of lenet5", "model.width=3"),
    runs("paths.run is no setting of paths; write paths.runs", "paths.run=x"),
    runs("seed={'x': 1} is no whole number from 0", "seed.x=1"),
    runs("profile={'x': 1} is no name of a profile", "profile.x=1"),
    runs("pretraining.seed cannot be set, for pretraining=null has no settings; write +", "pretraining.seed=1"),
    runs("Could not override 'lr'", "lr=3"),
    runs("model.lora is adapter=lora now; write adapter=lora adapter.rank=…", "model.lora=3"),
    runs("Could not find 'adapter/lorra'", "adapter=lorra"),
    runs("Could not find 'optimizer/sgdd'", "optimizer=sgdd"),
    runs("Could not find 'model/lenet6'", "model=lenet6"),
    runs("Could not find 'dataset/minst'", "dataset=minst"),
    runs("Could not find 'memory_budget/phone'", "memory_budget=phone"),
    runs("Could not find 'experiments/elasticzo/table9'", "experiments=elasticzo/table9"),
    runs("Could not find 'profile/tiny'; write profile=tuning; choose paper, short, smoke, tuning", "profile=tiny"),
]
# Axes: the groups that an option takes one option of.
AXES = [
    runs(
        "optimizer/rule=adam has no place beside optimizer=mezo, which has direction and descent; write optimizer=bp "
        "optimizer/rule=adam, and optimizer=mezo in a command of its own",
        "optimizer=bp,mezo",
        "optimizer/rule=adam",
    ),
    runs(
        "optimizer/rule=adam,sgd has no place beside optimizer=mezo, which has direction and descent; write "
        "optimizer=bp_sgd,elastic_zo optimizer/rule=adam,sgd, and optimizer=mezo,zo_adam in",
        "optimizer=mezo,bp_sgd,zo_adam,elastic_zo",
        "optimizer/rule=adam,sgd",
    ),
    runs("which has direction and descent; leave it out, or choose optimizer=bp or bp_adam or", "optimizer/rule=adam"),
    runs("optimizer/descent=sign has no place beside optimizer=bp_adam", "optimizer=bp_adam", "optimizer/descent=sign"),
    runs("beside optimizer=zo_int8, which has no axis;", "optimizer=zo_int8", "optimizer/direction=gaussian"),
    shown("optimizer/rule=adam has no place beside optimizer=mezo", "optimizer=mezo", "optimizer/rule=adam"),
]
NOTHING = [
    *(runs(f"{part}=null chooses nothing", f"{part}=null") for part in ("optimizer", "model", "dataset", "tracker")),
    runs("training=null has no settings of its own", "training=null"),
    runs("pretraining=3 has no settings of its own", "pretraining=3"),
    runs("smaller=x has no settings of its own", "+smaller=x"),
    runs("cell=x has no settings of its own", "cell=x"),
    runs("experiment=null is no folder within paths.runs", "experiment=null"),
    runs("experiment=../x is no folder within paths.runs", "experiment=../x"),
    runs("experiment=/x is no folder within paths.runs", "experiment=/x"),
    runs("paths.runs=null is no folder", "paths.runs=null"),
    runs("seed is missing, and a run needs it", "~seed"),
    runs("optimizer.lr is missing, and MeZO needs it; write +optimizer.lr=…", "~optimizer.lr"),
    runs("memory_budget.size has no default; write memory_budget.size=…", "memory_budget=custom"),
    runs("dataset.verbalizers has no default; write dataset.verbalizers=…", "dataset=text_file"),
    runs("dataset.path has no default; write dataset.path=…", "dataset=arrays"),
    runs("device: Interpolation key 'nosuch' not found", "device=${nosuch}"),
    runs("missing EQUAL", "training"),
    runs("optimizer.lr=[1 cannot be read (no viable alternative at input '[1'); close what is open", "optimizer.lr=[1"),
    runs("""two pairs of quotes, one for the shell: "dataset.separator=';'\"""", "dataset.separator=;"),
    runs(
        """for the shell: "dataset.template='{question} Type: {label}'\"""", "dataset.template={question} Type: {label}"
    ),
    runs(r"""for the shell: "dataset.template='don\'t {label}'""", "dataset.template=don't {label}"),
]
KINDS = [
    runs("memory_budget.enforce=maybe is not true or false; write one", "+memory_budget.enforce=maybe"),
    runs("optimizer.queries=1.5 is not a whole number; write one", "optimizer.queries=1.5"),
    runs("optimizer.queries=true is not a whole number", "optimizer.queries=true"),
    runs("optimizer.bp_layers=1.5 is not a whole number", "optimizer=elastic_zo", "optimizer.bp_layers=1.5"),
    runs("adapter.rank=1.5 is not a whole number", "optimizer=p_rge", "optimizer.rank=1.5"),
    runs("optimizer.rule.beta1=x is not a number", "optimizer=bp_adam", "optimizer.rule.beta1=x"),
    runs("rule.level=-1 is no whole number from 0", "optimizer=bp", "optimizer/rule=foam", "optimizer.rule.level=-1"),
    runs("rule.bits_m=3 has no codes; choose 2, 4", "optimizer=bp", "optimizer/rule=solo", "optimizer.rule.bits_m=3"),
    runs("optimizer.fused_backward=x is not true or false or null", "optimizer=bp", "optimizer.fused_backward=x"),
    runs("model._target_=nosuch.thing names no function or class", "model._target_=nosuch.thing"),
    runs("model._target_=os.sep names no function or class", "model._target_=os.sep"),
    runs("memory budget '12XB' is not a size", "memory_budget=12XB"),
    runs("memory budget '-1MB' must be more than zero bytes", "memory_budget=-1MB"),
    runs("mixes sizes and names", "memory_budget=unlimited,17GB"),
    runs("memory_budget.enforce=true but unlimited has no size", "+memory_budget.enforce=true"),
    runs("decided_by='x' is not an accounting; choose", "memory_budget.decided_by=x"),
    runs("device=toaster is not a device to train on; choose cpu or cuda", "device=toaster"),
    runs("training.keep='all' is nothing that a run leaves", "+training.keep=all"),
    runs("tracker.mode='x' is unknown; choose auto", "tracker=wandb", "tracker.mode=x"),
    runs("queries=0", "optimizer.queries=0"),
    recorded("bp_layers=6 but LeNet5 has 5 layers with weights", "optimizer=elastic_zo", "optimizer.bp_layers=6"),
    recorded("bp_layers=9 but LeNet5 has 5 layers with weights", "optimizer=elastic_zo", "optimizer.bp_layers=9"),
    recorded("bp_layers=-1", "optimizer=elastic_zo", "optimizer.bp_layers=-1"),
    runs("bp_pass='x' is not a pass", "optimizer=elastic_zo", "optimizer.bp_pass=x"),
    runs("Could not find 'optimizer/direction/x'; choose gaussian", "optimizer.noise=x"),
    recorded("batch_size=1000 but mnist has 96 training examples; choose 1–96", "training.batch_size=1000"),
    fails(
        "run",
        "train_limit=0 leaves nothing; choose 1 or more",
        "tracker=local",
        "dataset.train_limit=0",
        code=1,
    ),
    fails("run", "held_out=-1 leaves nothing; choose 0 or more", "tracker=local", "dataset.held_out=-1", code=1),
]
# Rates and schedules: those that a method cannot mean.
RATES = [
    *(
        runs(f"optimizer.lr={shown_as}", f"optimizer={optimizer}", f"optimizer.lr={said}")
        for optimizer in ("mezo", "bp_sgd")
        for said, shown_as in (("-1", "-1"), ("abc", "'abc'"), ("nan", "nan"), ("inf", "inf"), ("null", "None"))
    ),
    runs("initial=-1", "optimizer.lr.initial=-1"),
    runs("factor=-0.5", "optimizer.lr.factor=-0.5"),
    runs("every_epochs=-0.0001", "optimizer.lr.every_epochs=-0.0001"),
    runs("optimizer.eps=0 is not more than 0", "optimizer.eps=0"),
    runs("optimizer.eps='abc' is neither a number nor a schedule", "optimizer.eps=abc"),
    runs("optimizer.clip=-1 is not more than 0", "optimizer.clip=-1"),
    runs("adapter.alpha", "optimizer=p_rge", "adapter.alpha=nan"),
    runs(
        "adapter.rank is no setting of NoAdapter; it has none; adapter=lora or mp_lora or tt has it", "adapter.rank=4"
    ),
    runs("adapter.rank is no setting of NoAdapter; it has none; adapter=lora", "+model.lora.rank=4"),
    runs("optimizer=elastic_zo or elastic_zo_int8 or loho has it", "optimizer=mezo", "+optimizer.bp_layers=2"),
    runs("adapter.rank=0 but an update has a rank", "adapter=lora", "adapter.rank=0"),
    recorded("this model has none; choose adapter=mp_lora", "optimizer=p_rge", "adapter=none"),
]
CHANNELS = "tests.test_bad_input.three_channels"
PIXELS = "tests.test_bad_input.other_pixels"
MISFITS = [
    make(message, *words)
    for make in (recorded, shown)
    for message, words in (
        ("model PointNet cannot take the examples of dataset=mnist, 1 × 28 × 28 each", ["model=pointnet"]),
        ("cannot take the examples of dataset=mnist, 1 × 28 × 28 each", [f"model._target_={CHANNELS}"]),
        ("each (ValueError: layer 1 takes 1024 numbers but gets 784)", [f"model._target_={PIXELS}"]),
        ("model=lenet5 reads no text but dataset=vader is text; choose two that match", ["dataset=vader"]),
        ("model=llama_tiny reads text but dataset=mnist is not text", ["model=llama_tiny"]),
        ("int8", ["optimizer=zo_int8"]),
        ("int8", ["optimizer=niti_bp"]),
        ("int8", ["model=lenet5_int8", "optimizer=mezo"]),
        ("int8", ["model=lenet5_int8", "optimizer=bp_sgd"]),
    )
]
# Models that shrink.
SHRINKING = [
    runs("optimizer.left_out=1 is not from 0 to less than 1", "optimizer=compressm", "optimizer.left_out=1"),
    runs("optimizer.share=0 is not above 0 and up to 1", "optimizer=admm_pruning", "optimizer.share=0"),
    runs("optimizer.entries=2.5 is not a whole number or null", "optimizer=admm_pruning", "optimizer.entries=2.5"),
    runs("model.states=1.5 is not a whole number", "model=lru", "model.states=1.5"),
    *(
        make(message, *words)
        for make in (recorded, shown)
        for message, words in (
            ("LeNet5 has none; choose model=lru, or optimizer=bp", ["optimizer=compressm"]),
            (
                "shrinks layer1.lru, which is frozen; choose adapter=none",
                ["optimizer=compressm", "model=lru", "adapter=lora"],
            ),
            ("model.states=0 is no number of states; choose 1 or more", ["model=lru", "model.states=0"]),
            ("model.reading=columns is no way to read an image; choose", ["model=lru", "model.reading=columns"]),
        )
    ),
]
CASES = [*SEEDS, *THREADS, *AMOUNTS, *COUNTS, *LIMITS, *UNKNOWN, *AXES, *NOTHING, *KINDS, *RATES, *MISFITS, *SHRINKING]
