"""What the other commands cannot do."""

from .case import fails, planned, reproduced, shown

LAYERS = [
    shown("Could not find 'model/nope'", "model=nope"),
    shown("seed=1.5 is no whole number", "seed=1.5"),
    shown("training.batch_size=0 counts nothing", "training.batch_size=0"),
    shown("bp_layers=9 but LeNet5 has 5 layers", "optimizer=elastic_zo", "optimizer.bp_layers=9"),
    shown("checkpoint is no setting of a run", "+checkpoint=x"),
    shown("training.epoch is no setting of training; write training.epochs", "training.epoch=1"),
    shown("memory budget '12XB' is not a size", "memory_budget=12XB"),
    shown("Error parsing override 'lenet5'", "lenet5"),
    shown("Could not override 'lr'", "lr=3"),
    shown("dataset.path has no default", "dataset=arrays"),
    fails("layers", "--nosuch is no setting of", "--nosuch"),
]
REPRODUCE = [
    reproduced("memory budget '12XB' is not a size", "memory_budget=12XB"),
    reproduced("seed=1.5 is no whole number from 0", "seed=1.5"),
    reproduced("seed=1.5 is no whole number from 0", "seed=0,1.5"),
    reproduced("Could not find 'dataset/nosuch'", "dataset=nosuch"),
    reproduced("Could not find 'model/nosuch'", "model=nosuch"),
    reproduced(
        "Could not find 'profile/tiny'; write profile=tuning; choose paper, short, smoke, tuning", "profile=tiny"
    ),
    fails(
        "reproduce",
        "full_za'; write experiments/elasticzo/row=full_zo; choose cls1",
        "elasticzo/table1",
        "experiments/elasticzo/row@_global_=full_za",
        code=2,
    ),
    fails(
        "reproduce",
        "mobizo/queries does not say rows.q3_b3.epochs; choose one of its rows (q1_b16",
        "mobizo/queries",
        "cell.row=q3_b3",
        code=2,
    ),
    reproduced("training.epochs=-1 is no amount of training", "training.epochs=-1"),
    reproduced("training.epoch is no setting of training; write training.epochs", "training.epoch=1"),
    reproduced("init_from is no setting of a run", "+init_from=x"),
    reproduced("threads=0 is no whole number from 1", "threads=0"),
    reproduced("tracker.mode='x' is unknown", "tracker=wandb", "tracker.mode=x"),
    reproduced("model PointNet cannot take the examples of dataset=mnist", "model=pointnet", "seed=0"),
    reproduced("batch_size=1000 but mnist has 96 training examples", "training.batch_size=1000"),
    reproduced("int8", "model=lenet5_int8"),
    reproduced("Could not override 'lr'", "lr=3"),
    fails("reproduce", "Could not find 'experiments/elasticzo/table9'", "elasticzo/table9"),
    fails("reproduce", "name at least one experiment", "profile=short"),
    fails("reproduce", "name at least one experiment, such as elasticzo/table1"),
    fails("reproduce", "jobs=0 is no whole number from 1", "elasticzo/table1", "--jobs", "0"),
    fails("reproduce", "jobs=x is no whole number from 1", "elasticzo/table1", "jobs=x"),
]
PLAN = [
    planned("'llama2_7b' says no value; write KEY=VALUE", "llama2_7b"),
    planned("model=nosuch is not known; choose", "model=nosuch"),
    planned("Could not find 'memory_budget/nosuch'; choose a100_80gb", "device=nosuch"),
    planned("Could not find 'optimizer/nosuch'; choose adazeta, admm_pruning, bp", "optimizer=nosuch"),
    planned("sead is not a key of a plan; choose", "sead=1"),
    planned("format='xml' is not a format; choose", "format=xml"),
    planned("training.batch_size=0 but a step needs at least one", "training.batch_size=0"),
    planned("training.batch_size=x is not a whole number", "training.batch_size=x"),
    planned("dataset.sequence_length=1.5 is not a whole number", "dataset.sequence_length=1.5"),
    planned("memory budget '12XB' is not a size", "device=12XB"),
    planned("queries=0 but a step needs at least one direction", "optimizer=mezo", "optimizer.queries=0"),
    planned("optimizer.nosuch is no setting of Backprop", "optimizer.nosuch=1"),
    planned(
        "optimizer/rule=adam has no place beside optimizer=mezo, which has direction and",
        "optimizer=mezo",
        "optimizer/rule=adam",
    ),
    planned("assumptions.nosuch is no setting of Assumptions", "assumptions.nosuch=1"),
    planned("memory_budget.flops_per_second=-1 is not a rate", "device.flops_per_second=-1"),
    planned("model.classes=0 is no whole number from 1", "model=lenet5", "optimizer=mezo", "model.classes=0"),
]
ON_RUNS = [
    fails("replay", "name at least one folder of a run, such as"),
    fails("replay", "{tmp}/nowhere holds no run", "{tmp}/nowhere"),
    fails("replay", "{tmp} holds no run", "{tmp}"),
    fails("gain", "name at least one folder of a run, such as"),
    fails("gain", "{tmp}/nowhere holds no run that finished", "{tmp}/nowhere"),
    fails("gain", "--nosuch is no setting of", "{tmp}", "--nosuch"),
    fails("export", "run is missing; write run=…"),
    fails("export", "{tmp} is no setting of export; it has run", "{tmp}"),
    fails("export", "nosuch is no setting of export", "run={tmp}", "nosuch=1"),
    fails("export", "format='tflite' is no format of programs; choose", "run={tmp}", "format=tflite"),
    fails("export", "run=0123456789ab is no folder, and 0 runs in", "run=0123456789ab"),
    fails("export", "{tmp} holds no run that began", "run={tmp}"),
    fails("score-program", "run is missing; write run=…"),
    fails("score-program", "adapters is missing; write adapters=…", "run={tmp}"),
    fails("score-program", "{tmp} holds no run that began", "run={tmp}", "adapters=x"),
    fails("score-program", "x is no setting of score-program", "x"),
    fails("train-program", "program is missing; write program=…"),
    fails("train-program", "x is no setting of train-program", "x"),
    fails(
        "train-program",
        "nowhere.pte does not exist; a program and its .json are written by",
        "program={tmp}/nowhere.pte",
    ),
    fails("train-program", "no.json is not valid JSON", "program={tmp}/no.pte", code=1),
    fails("train-program", "list.json has schema None, this version reads 2", "program={tmp}/list.pte", code=1),
    *(
        fails("train-program", f"{name}={said} is no whole number from 1", "program={tmp}/no.pte", f"{name}={said}")
        for name in ("steps", "threads")
        for said in ("0", "-1", "1.5", "x", "²")
    ),
    fails("train-program", "steps is missing; write steps=…", "program={tmp}/no.pte", "steps="),
]
OTHERS = [
    fails("data", "name at least one data set, such as mnist or fashion_mnist"),
    fails("data", "cifar is no data set that is fetched by itself; choose from", "cifar"),
    fails("data", "fashion_mist is no data set that is fetched by itself; write fashion_mnist", "fashion_mist"),
    fails("data", "--x is no setting of data; it has none", "--x"),
    fails("bench", "full is no setting of bench part=targets; it has csv", "--full"),
    fails(
        "bench",
        "part=stesp is no part of bench; write part=steps; choose targets, shelf, steps",
        "part=stesp",
    ),
    fails("bench", "threads is no setting of bench part=programs; it has full", "part=programs", "threads=1"),
    fails("bench", "only=7B is in no title; choose a part of one of", "part=language", "--only", "7B"),
    fails("bench", "threads=0 is no whole number from 1", "part=language", "--threads", "0"),
    fails("bench", "threads=x is no whole number from 1", "part=language", "threads=x"),
    fails("bench", "x is no setting of bench; it has part", "part=language", "x"),
    fails("bench", "only=7B is in no model's name; choose a part of one of", "part=programs", "only=7B"),
    fails("bench", "rounds=0 is no whole number from 1", "part=programs", "rounds=0"),
]
CASES = [*LAYERS, *REPRODUCE, *PLAN, *ON_RUNS, *OTHERS]
