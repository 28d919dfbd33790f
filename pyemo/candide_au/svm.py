"""Support vector machines: trained by scikit-learn, kept as plain arrays, evaluated here.

``svm-linear`` and ``svm-poly`` are LIBSVM's machines for each pair of classes. ``ssvm`` is a structural SVM (Tsochantaridis et al. 2005) whose
structure is the class: with the features written into the block of a class, and a loss of 1 for a wrong one, its margin-rescaled hinge
max_y [1(y != y_i) + w_y x - w_{y_i} x] is that of Crammer and Singer (2001), which LIBLINEAR minimises. This reading is ours; the thesis says
"SSVM" and no more.
"""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import balanced_accuracy_score
from sklearn.svm import SVC, LinearSVC

from pyemo.config.candide_au import VectorClassifierConfig
from pyemo.data.folds import stratified_folds

_COEF0 = 1.0  # of the polynomial kernel: lower powers count too
_ITERATIONS = 20_000


@dataclass(frozen=True)
class PairMachines:
    """One machine for each pair of the K classes it knows; the class with most votes wins, margins break ties.

    Kernels: (x . s / F + 1) ** degree, or x . s for ``degree`` 0.
    """

    classes: np.ndarray
    """(K,) int64, ascending."""
    support: np.ndarray
    """(S, F) float64, support vectors."""
    weights: np.ndarray
    """(S, K (K - 1) / 2), pairs in the order (0, 1), (0, 2), ...; a positive sum is a vote for the first of a pair."""
    offsets: np.ndarray
    """(K (K - 1) / 2,)"""
    degree: int

    def decide(self, features: np.ndarray) -> np.ndarray:
        """(N, F) -> (N, K): votes, and a bounded sum of margins below one vote (as scikit-learn's ``decision_function`` counts)."""
        margins = _kernel(features, self.support, self.degree) @ self.weights + self.offsets
        votes = np.zeros((len(features), len(self.classes)))
        sums = np.zeros_like(votes)
        for pair, (first, second) in enumerate(itertools.combinations(range(len(self.classes)), 2)):
            votes[:, first] += margins[:, pair] >= 0
            votes[:, second] += margins[:, pair] < 0
            sums[:, first] += margins[:, pair]
            sums[:, second] -= margins[:, pair]
        return votes + sums / (3 * (np.abs(sums) + 1))


@dataclass(frozen=True)
class JointMachine:
    """One linear machine for all classes."""

    classes: np.ndarray
    """(K,) int64, ascending."""
    weights: np.ndarray
    """(K, F) float64."""
    offsets: np.ndarray
    """(K,)"""

    def decide(self, features: np.ndarray) -> np.ndarray:
        """(N, F) -> (N, K) scores."""
        scores: np.ndarray = features @ self.weights.T + self.offsets
        return scores


@dataclass(frozen=True)
class SvmClassifier:
    """A machine with the scaling of its features, and probabilities."""

    machine: PairMachines | JointMachine
    mean: np.ndarray
    """(F,) float64, of the training samples."""
    deviation: np.ndarray
    """(F,), likewise; 1 where a feature never changes."""
    temperature: float
    """Decisions are divided by it before the softmax; from cross-validated decisions (Guo et al. 2017)."""
    c: float
    """The weight of errors it was trained with."""

    def probabilities(self, features: np.ndarray, classes: int) -> np.ndarray:
        """(N, F) -> (N, ``classes``) float32; rows sum to 1, classes without training samples get 0. The largest is the machine's decision."""
        decisions = self.machine.decide((features - self.mean) / self.deviation)
        found = np.zeros((len(features), classes), np.float32)
        found[:, self.machine.classes] = softmax(decisions / self.temperature, axis=1)
        return found

    def arrays(self) -> dict[str, np.ndarray]:
        """All that makes the classifier, by name."""
        fields = {name: np.asarray(value) for name, value in vars(self.machine).items()}
        return {**fields, **{name: np.asarray(value) for name, value in vars(self).items() if name != "machine"}}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> SvmClassifier:
        """The inverse of :meth:`arrays`; KeyError names what is missing."""
        common = arrays["classes"], arrays["weights"], arrays["offsets"]
        machine: PairMachines | JointMachine = JointMachine(*common)
        if "support" in arrays:
            machine = PairMachines(common[0], arrays["support"], *common[1:], int(arrays["degree"]))
        return cls(machine, arrays["mean"], arrays["deviation"], float(arrays["temperature"]), float(arrays["c"]))


def train_svm(
    features: np.ndarray, targets: np.ndarray, groups: list[str | None], config: VectorClassifierConfig, seed: int
) -> SvmClassifier:
    """Choose ``c``, scale the probabilities, and train on all samples.

    Args:
        features: (N, F).
        targets: (N,) class indices.
        groups: of each sample: samples of one group are never on both sides of the inner cross-validation; None stands for itself.
        config: kind of machine, and candidates for ``c``.
        seed: of the folds and of LIBLINEAR.

    Raises:
        DataError: fewer than two classes, or too few samples or groups for the inner cross-validation.
    """
    mean, deviation = features.mean(axis=0, dtype=np.float64), features.std(axis=0, dtype=np.float64)
    deviation[deviation == 0] = 1.0
    scaled = (features - mean) / deviation
    folds = stratified_folds([str(target) for target in targets], config.folds, seed, groups)
    trials = [(c, _held_out_decisions(scaled, targets, folds, c, config, seed)) for c in config.c]
    c, decisions = max(trials, key=lambda trial: balanced_accuracy_score(targets, trial[1].argmax(axis=1)))
    machine = _train(scaled, targets, c, config, seed)
    return SvmClassifier(machine, mean, deviation, _temperature(decisions, targets), c)


def _held_out_decisions(
    features: np.ndarray, targets: np.ndarray, folds: np.ndarray, c: float, config: VectorClassifierConfig, seed: int
) -> np.ndarray:
    """(N, classes) decisions on each sample by a machine that was trained without its fold; -inf for classes unknown to it."""
    decisions = np.full((len(targets), int(targets.max()) + 1), -np.inf)
    for fold in range(int(folds.max()) + 1):
        held_out = folds == fold
        machine = _train(features[~held_out], targets[~held_out], c, config, seed)
        decisions[np.ix_(held_out, machine.classes)] = machine.decide(features[held_out])
    return decisions


def _train(
    features: np.ndarray, targets: np.ndarray, c: float, config: VectorClassifierConfig, seed: int
) -> PairMachines | JointMachine:
    class_weight = "balanced" if config.class_weights == "balanced" else None
    if config.name == "ssvm":
        joint = LinearSVC(
            C=c, multi_class="crammer_singer", class_weight=class_weight, max_iter=_ITERATIONS, random_state=seed
        )
        with warnings.catch_warnings():
            # Near its optimum it creeps; what it has by then is good enough to be compared by held-out samples.
            warnings.simplefilter("ignore", ConvergenceWarning)
            joint.fit(features, targets)
        weights, offsets = joint.coef_, joint.intercept_
        if len(joint.classes_) == 2:  # scikit-learn gives the difference of the two classes
            weights, offsets = np.concatenate((-weights, weights)) / 2, np.concatenate((-offsets, offsets)) / 2
        return JointMachine(joint.classes_.astype(np.int64), weights, offsets)
    degree = config.degree if config.name == "svm-poly" else 0
    kernel = {"kernel": "poly", "degree": degree, "gamma": "auto", "coef0": _COEF0} if degree else {"kernel": "linear"}
    pairs = SVC(C=c, class_weight=class_weight, **kernel).fit(features, targets)
    return _pair_machines(pairs, degree)


def _pair_machines(trained: SVC, degree: int) -> PairMachines:
    """LIBSVM's coefficients, which are packed by the class of the support vector, as one column a pair."""
    count = len(trained.classes_)
    ends = np.cumsum(trained.n_support_)
    of_class = [slice(end - size, end) for end, size in zip(ends, trained.n_support_, strict=True)]
    pairs = list(itertools.combinations(range(count), 2))
    weights = np.zeros((ends[-1], len(pairs)))
    for pair, (first, second) in enumerate(pairs):
        weights[of_class[first], pair] = trained.dual_coef_[second - 1, of_class[first]]
        weights[of_class[second], pair] = trained.dual_coef_[first, of_class[second]]
    offsets = trained.intercept_.copy()
    if count == 2:  # scikit-learn turns the signs of a single pair
        weights, offsets = -weights, -offsets
    return PairMachines(trained.classes_.astype(np.int64), trained.support_vectors_, weights, offsets, degree)


def _kernel(features: np.ndarray, support: np.ndarray, degree: int) -> np.ndarray:
    products: np.ndarray = features @ support.T
    return (products / features.shape[1] + _COEF0) ** degree if degree else products


def _temperature(decisions: np.ndarray, targets: np.ndarray) -> float:
    """What makes the true classes of held-out samples most likely."""
    known = np.isfinite(decisions[np.arange(len(targets)), targets])

    def loss(logarithm: float) -> float:
        likelihoods = log_softmax(decisions[known] / np.exp(logarithm), axis=1)
        return -float(likelihoods[np.arange(int(known.sum())), targets[known]].mean())

    return float(np.exp(minimize_scalar(loss, bounds=(np.log(0.01), np.log(100.0)), method="bounded").x))
