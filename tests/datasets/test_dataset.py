"""What a data set says of itself."""

import torch

from tightfit.datasets.dataset import Dataset, Examples


def test_the_classes_are_counted_in_both_splits_and_the_most_frequent_is_the_baseline() -> None:
    train, scored = (
        Examples(torch.zeros(len(labels), 2), torch.tensor(labels)) for labels in ([0, 2, 2], [2, 0, 2, 2])
    )
    dataset = Dataset("made", 4, train, scored, "test", 0.0, 1.0, "made", {})
    assert dataset.balance == {
        "classes": 4,
        "train_counts": [1, 0, 2, 0],
        "scored_counts": [1, 0, 3, 0],
        "majority_accuracy": 0.75,
    }
