"""What the planner cannot answer: one line with the value, the rule and the remedy."""

import pytest

from tightfit.plan.__main__ import main


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("device=toaster", "Could not find 'memory_budget/toaster'; choose a100_80gb"),
        ("device=-3GB", "memory budget '-3GB' must be more than zero bytes"),
        (
            "device=phone_6gb device.reserve=6GiB",
            "memory_budget.reserve=6GiB leaves nothing of memory_budget.size=6GiB",
        ),
        ("device=4XB", "memory budget '4XB' is not a size"),
        ("device.flops_per_second=0", "memory_budget.flops_per_second=0 is not a rate"),
        ("model=bert", "model=bert is not known; choose gpt2_medium, gpt2_tiny"),
        ("model=Llama-3.2-1B", "vit_tiny, or write the path of a config.json of Hugging Face's form"),
        ("device.flops_per_second=nan", "memory_budget.flops_per_second=nan is not a number or null; write one"),
        ("device.bytes_per_second=inf", "memory_budget.bytes_per_second=inf is not a rate; choose more than 0"),
        (f"device={'9' * 400}GB", "memory budget 999999999999… is beyond any device; write a size"),
        (f"training.batch_size={'9' * 400}", "is beyond any step; choose 1,000,000,000 or fewer"),
        (f"dataset.sequence_length={'9' * 400}", "is beyond any step; choose 1,000,000,000 or fewer"),
        ("model.layers=1000000", "layers=1000000 is beyond any model; choose 10,000 or less"),
        (
            "model=lenet5 optimizer=mezo model.classes=10000000000",
            "model.classes=10000000000 is no whole number from 1 to 100000",
        ),
        ("assumptions.weight_bytes=1e308", "weight_bytes=1e+308 is no size of a number; choose 0 to 1024"),
        ("model.width=1000", "heads=9 does not divide width=1000 of smollm2_135m"),
        ("model.key_value_heads=2", "key_value_heads=2 does not divide heads=9 of smollm2_135m"),
        ("model=llama2_7b model.tied_head=1", "model.tied_head=1 is not true or false"),
        (f"model={'9' * 400}", "is not known; choose gpt2_medium"),
        (f"model=a/{'9' * 400}", "and a plan asks no network"),
        ("model=", "model= is not known; choose gpt2_medium"),
        ("model.key_value_heads=0", "key_value_heads=0 but smollm2_135m has 9 heads; choose 1–9"),
        ("model.positions=-1", "positions=-1 is no number of rows"),
        ("model=lenet5 optimizer=mezo model.classes=-1", "model.classes=-1 is no whole number from 1 to 100000"),
        (
            "optimizer=elastic_zo optimizer.bp_layers=-1",
            "bp_layers=-1 but smollm2_135m has 32 layers with weights; choose 0–32",
        ),
        ("model.layers=-1", "layers=-1 but smollm2_135m needs at least one"),
        ("model.layers=1.5", "model.layers=1.5 is not a whole number"),
        ("model.block=mamba", "block='mamba' is not counted; choose gpt2, llama, bert"),
        (
            "model=lenet5 model.layers=3 optimizer=mezo",
            "model.layers is no setting of the planned lenet5; it has classes",
        ),
        ("optimizer=adagrad", "Could not find 'optimizer/adagrad'; choose adazeta, admm_pruning, bp"),
        (
            "model=llama_tiny_lora optimizer=mezo format=json adapter=nosuch",
            "Could not find 'adapter/nosuch'; choose blocks, bsr, lora, lora_4bit",
        ),
        (
            "optimizer=mezo optimizer/rule=adam",
            "optimizer/rule=adam has no place beside optimizer=mezo, which has direction and descent; leave it out, or",
        ),
        ("optimizer.momentum=4", "optimizer.momentum is no setting of Backprop; it has lr, rule, activations"),
        ("optimizer=null", "optimizer=null chooses nothing"),
        ("optimizer=direction/gaussian", "optimizer=direction/gaussian is no method of training"),
        ("optimizer=elastic_zo optimizer.bp_layers=1.5", "optimizer.bp_layers=1.5 is not a whole number"),
        ("optimizer=mezo optimizer.queries=0", "queries=0 but a step needs at least one direction"),
        ("optimizer=niti_bp", "train int8 layers, and smollm2_135m is not made of them; choose model=lenet5_int8"),
        ("model=hf_causal_lm", "model=hf_causal_lm is any model of its kind; give the folder of its config.json"),
        (
            "optimizer=elastic_zo optimizer.bp_layers=33",
            "bp_layers=33 but smollm2_135m has 32 layers with weights; choose 0–32",
        ),
        ("model=lenet5 optimizer=bp_lora", "Could not find 'optimizer/bp_lora'; choose adazeta, admm_pruning, bp"),
        ("model=lenet5 optimizer=elastic_zo optimizer.bp_layers=6", "bp_layers=6 but LeNet5 has 5 layers with weights"),
        ("training.batch_size=0", "training.batch_size=0 but a step needs at least one; choose 1 or more"),
        ("dataset.sequence_length=0", "dataset.sequence_length=0 but a step needs at least one"),
        ("dataset.sequence_length=long", "dataset.sequence_length=long is not a whole number"),
        ("model=gpt2_medium dataset.sequence_length=2048", "gpt2_medium has 1024 positions; choose 1–1024"),
        ("assumptions.rho=2", "rho=2 is not a share of the layers"),
        ("assumptions.rho=most", "assumptions.rho=most is not a number"),
        ("assumptions.state_bytes=inf", "assumptions.state_bytes=inf is not a number; write one"),
        ("assumptions.activation_bytes=-2", "activation_bytes=-2 is no size of a number"),
        ("assumptions.dropout=1", "assumptions.dropout=1 is not true or false"),
        ("assumptions.logits=some", "logits='some' are of no position; choose all, answer or none"),
        (
            "assumptions.weight_byte=1",
            "assumptions.weight_byte is no setting of Assumptions; write assumptions.weight_bytes",
        ),
        ("format=xml", "format='xml' is not a format; choose table, json, csv"),
        ("picture=nowhere/plan.png", "picture=nowhere/plan.png cannot be written"),
        ("learning_rate=1", "learning_rate is not a key of a plan"),
        ("mezo", "'mezo' says no value; write KEY=VALUE"),
    ],
)
def test_what_cannot_be_planned_is_refused_in_one_line(capsys, words: str, message: str) -> None:
    assert main(words.split()) == 2
    complaint = capsys.readouterr().err
    assert message in complaint
    assert complaint.count("\n") == 1
