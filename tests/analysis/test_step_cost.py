"""The record of what steps cost, as a table."""

from pathlib import Path

from analysis.render.markdown import markdown
from analysis.step_cost import load_costs, page

HEADER = (
    "model,sequences,length,dtype,step,ratio,ratio_low,ratio_high,seconds,pairs,peak,"
    "commit,dirty,cpu,cores,memory_gib,device,threads,python,torch,platform,measured_at\n"
)
END = "abcdef012345,False,A processor,2,24,cpu,2,3.11,2.13.0,Linux,2026-11-21\n"


def test_a_model_has_a_table_with_a_column_for_each_number_of_tokens(tmp_path: Path) -> None:
    path = tmp_path / "step_cost" / "results" / "language.csv"
    path.parent.mkdir(parents=True)
    path.write_text(
        HEADER
        + f"135M,4,64,float32,fused,9.9,9.8,9.95,0.8,7,1.0,{END}"  # measured again below
        + f"135M,4,64,float32,fused,1.1,1.0,1.25,0.8,7,1.0,{END}"
        + f"135M,1,64,float32,fused,1.3,1.2,1.4,0.3,7,1.01,{END}"
        + f"135M,4,64,float32,published,4.0,3.9,4.5,3.0,3,1.61,{END}"
        + f"55M,1,64,bfloat16,fused,1.5,1.4,1.6,0.3,7,1.0,{END}"
    )
    text = markdown(page(load_costs(tmp_path)))
    assert "| step | 64 tokens | 256 tokens | memory |" in text
    assert "| fused | 1.300 (1.200 – 1.400) | 1.100 (1.000 – 1.250) | 1.01 |" in text
    assert "| published | – | 4.000 (3.900 – 4.500) | 1.61 |" in text
    assert "*55M, bf16*" in text
    assert "A processor, 2 cores, 2 threads, torch 2.13.0 · commit abcdef0" in text
