"""Losses: closed forms, finite differences, logits of ±100, missing labels; and the weights of several tasks."""

import math
from functools import partial

import pytest
import torch
from torch.nn import functional

from duchenne.errors import InputError, UsageError
from duchenne.learn.losses import LOSSES, Weighted, cross_entropy, euclidean, focal, labelled, loss, multilabel_focal

NAN = math.nan
MADE = torch.Generator().manual_seed(0)
Z1, Z3 = (3 * torch.randn(*shape, dtype=torch.float64, generator=MADE) for shape in [(7,), (7, 4)])
YES = torch.tensor([1, 0, 1, 1, 0, 0, 1], dtype=torch.float64)
CLASSES = torch.tensor([0, 3, 1, 2, 2, 0, 3])
SHARES = torch.rand(7, 4, dtype=torch.float64, generator=MADE)
SHARES = SHARES / SHARES.sum(dim=1, keepdim=True)
EACH = (torch.rand(7, 4, dtype=torch.float64, generator=MADE) > 0.5).double()
EACH[EACH.sum(dim=1) == 0, 2] = 1  # a row of no class at all has no cross-entropy
#: What can be asked of every loss, and of every loss but the multi-label one.
ASKED = {"yes or no": (Z1, YES), "a class": (Z3, CLASSES), "several": (Z3, EACH), "shares": (Z3, SHARES)}


# --- closed forms ----------------------------------------------------------------------------------------------------


def test_cross_entropy_is_torchs():
    torch.testing.assert_close(cross_entropy(Z1, YES), functional.binary_cross_entropy_with_logits(Z1, YES))
    torch.testing.assert_close(cross_entropy(Z3, CLASSES), functional.cross_entropy(Z3, CLASSES))
    torch.testing.assert_close(cross_entropy(Z3, SHARES), functional.cross_entropy(Z3, SHARES))


def test_euclidean_by_hand():
    # softmax of (0, log 3) is (1/4, 3/4): ½ (1/16 + 1/16) for the second class, ½ (9/16 + 9/16) for the first
    z = torch.tensor([[0, math.log(3)]], dtype=torch.float64)
    assert float(euclidean(z, torch.tensor([1]))) == pytest.approx(1 / 16)
    assert float(euclidean(z, torch.tensor([0]))) == pytest.approx(9 / 16)
    assert float(euclidean(z[:, 1], torch.tensor([0.5]))) == pytest.approx(1 / 16)


@pytest.mark.parametrize("each", [cross_entropy, euclidean, focal])
def test_yes_and_no_are_two_classes_of_which_one_has_logit_0(each):
    both = torch.stack([torch.zeros_like(Z1), Z1], dim=1)
    torch.testing.assert_close(each(Z1, YES), each(both, YES.long()))


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 2.0, 5.0])
def test_focal_by_its_formula(gamma):
    p = Z3.softmax(1)[torch.arange(7), CLASSES]
    torch.testing.assert_close(focal(Z3, CLASSES, gamma=gamma), (-((1 - p) ** gamma) * p.log()).mean())
    p = torch.where(YES == 1, Z1.sigmoid(), 1 - Z1.sigmoid())
    torch.testing.assert_close(focal(Z1, YES, gamma=gamma), (-((1 - p) ** gamma) * p.log()).mean())


@pytest.mark.parametrize(("z", "y"), ASKED.values(), ids=ASKED)
def test_without_gamma_focal_is_cross_entropy(z, y):
    torch.testing.assert_close(focal(z, y, gamma=0.0), cross_entropy(z, y))


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
@pytest.mark.parametrize("alpha", [0.0, 0.25, 1.0])
@pytest.mark.parametrize("y", [EACH, SHARES])
def test_multilabel_focal_by_its_formula(gamma, alpha, y):
    s = Z3.sigmoid()
    wanted = -(alpha * (1 - s) ** gamma * y * s.log() + (1 - alpha) * s**gamma * (1 - y) * (1 - s).log())
    torch.testing.assert_close(multilabel_focal(Z3, y, gamma=gamma, alpha=alpha), wanted.mean())


def test_without_gamma_and_with_half_alpha_multilabel_focal_is_half_of_binary_cross_entropy():
    for z, y in ((Z3, EACH), (Z3, SHARES), (Z1, YES)):
        found = multilabel_focal(z, y, gamma=0.0, alpha=0.5)
        torch.testing.assert_close(found, functional.binary_cross_entropy_with_logits(z, y) / 2)
    one_of = functional.one_hot(CLASSES, 4).double()
    torch.testing.assert_close(multilabel_focal(Z3, CLASSES), multilabel_focal(Z3, one_of))


# --- gradients, and logits of ±100 -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize(("z", "y"), ASKED.values(), ids=ASKED)
def test_gradients_are_those_of_finite_differences(name, z, y):
    z = z.clone().requires_grad_()
    loss(name)(z, y).backward()
    step = 1e-6
    for place in range(z.numel()):
        with torch.no_grad():
            moved = [z.clone(), z.clone()]
            for each, sign in zip(moved, (1, -1), strict=True):
                each.view(-1)[place] += sign * step
            slope = (loss(name)(moved[0], y) - loss(name)(moved[1], y)) / (2 * step)
        assert float(z.grad.view(-1)[place]) == pytest.approx(float(slope), rel=1e-5, abs=1e-9)


SURE = [cross_entropy, euclidean, *(partial(each, gamma=g) for each in (focal, multilabel_focal) for g in (0, 0.5, 2))]


@pytest.mark.parametrize("of", SURE)
@pytest.mark.parametrize("kind", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
def test_large_logits_give_finite_values_and_gradients(of, kind):
    ends = torch.tensor([-100.0, 0.0, 100.0], dtype=kind)
    single, label = (
        each.reshape(-1) for each in torch.meshgrid(ends, torch.tensor([0, 0.5, 1], dtype=kind), indexing="ij")
    )
    many = torch.cartesian_prod(ends, ends, ends)
    for z, y in [(single, label), *((many, torch.full((27,), k)) for k in range(3)), (many, (many > 0).float())]:
        z = z.clone().requires_grad_()
        found = of(z, y)
        found.backward()
        assert torch.isfinite(found) and torch.isfinite(z.grad).all()
        assert found.dtype == (torch.float64 if kind == torch.float64 else torch.float32)


@pytest.mark.parametrize("kind", [torch.float32, torch.float64])
def test_confident_errors_have_the_exact_loss(kind):
    wrong, row = torch.tensor([-100.0], dtype=kind), torch.tensor([[-100.0, 100.0, 0.0]], dtype=kind)
    one, first = torch.tensor([1.0]), torch.tensor([0])
    assert float(cross_entropy(wrong, one)) == pytest.approx(100)
    assert float(cross_entropy(row, first)) == pytest.approx(200)
    assert float(focal(row, first)) == pytest.approx(200)
    assert float(multilabel_focal(wrong, one, alpha=0.25)) == pytest.approx(25)
    assert float(euclidean(wrong, one)) == pytest.approx(1)
    # and being surely right, next to nothing, by the logarithm still exact where probabilities round to 1
    assert float(focal(torch.tensor([[20.0, 0.0]], dtype=kind), first)) == pytest.approx(math.exp(-20) ** 3, rel=1e-4)


# --- labels that are not there ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("lost", [NAN, -1.0])
@pytest.mark.parametrize("asked", ASKED)
def test_rows_without_a_label_do_not_count_whatever_their_logits(name, lost, asked):
    z, y = ASKED[asked]
    z, y = z.clone(), y.clone().double()
    z[[1, 4]], y[[1, 4]] = NAN, lost
    z.requires_grad_()
    found = loss(name)(z, y)
    found.backward()
    there = [0, 2, 3, 5, 6]
    torch.testing.assert_close(found.detach(), loss(name)(z[there].detach(), y[there]))
    assert (z.grad[[1, 4]] == 0).all() and (z.grad[there] != 0).any(dim=-1).all()
    # and the same by a mask, with labels everywhere
    mask = torch.tensor([True, False, True, True, False, True, True])
    torch.testing.assert_close(loss(name)(z.detach(), ASKED[asked][1], mask), found.detach())


@pytest.mark.parametrize("lost", [NAN, -1.0])
def test_of_several_labels_those_that_are_there_count_of_shares_whole_rows(lost):
    y = EACH.clone()
    y[0, 1], y[3, 2], y[3, 0] = lost, lost, lost
    there = y >= 0
    wanted = functional.binary_cross_entropy_with_logits(Z3[there], y[there]) / 2
    torch.testing.assert_close(multilabel_focal(Z3, y, gamma=0.0), wanted)
    rows = [1, 2, 4, 5, 6]
    torch.testing.assert_close(cross_entropy(Z3, y), cross_entropy(Z3[rows], EACH[rows]))
    mask = torch.ones(7, 4, dtype=torch.bool)
    mask[5] = False
    torch.testing.assert_close(multilabel_focal(Z3, EACH, mask), multilabel_focal(Z3[mask[:, 0]], EACH[mask[:, 0]]))


def test_whole_labels_and_those_of_true_and_false_are_labels():
    assert labelled(torch.tensor([0, 3, -1])).tolist() == [True, True, False]
    assert labelled(torch.tensor([0.0, NAN, -1.0, 0.4])).tolist() == [True, False, False, True]
    assert labelled(torch.zeros(2, 2), torch.tensor([1, 0])).tolist() == [[True, True], [False, False]]
    torch.testing.assert_close(cross_entropy(Z1, YES.bool()), cross_entropy(Z1, YES))
    torch.testing.assert_close(focal(Z3, CLASSES.float()), focal(Z3, CLASSES))


@pytest.mark.parametrize("name", LOSSES)
def test_without_labels_loss_and_gradient_are_zero(name):
    none = [
        (Z1, torch.full((7,), NAN)),
        (Z3, torch.full((7,), -1)),
        (Z3, torch.full((7, 4), NAN)),
        (Z3[:0], CLASSES[:0]),
    ]
    for z, y in none:
        z = torch.full_like(z, NAN).requires_grad_()
        found = loss(name)(z, y)
        found.backward()
        assert float(found.detach()) == 0 and (z.grad == 0).all()


@pytest.mark.parametrize(
    ("z", "y", "words"),
    [
        (Z3, torch.tensor([0, 1, 2, 3, 4, 0, 0]), "between 0 and 3, .* found 4"),
        (Z1, torch.full((7,), 1.5), r"between 0 and 1, .* found 1\.5"),
        (Z3, torch.full((7,), 0.5), "must be whole"),
        (Z3, YES[:5], r"found logits \(7, 4\) with labels \(5,\)"),
        (Z3[None], EACH[None], r"found logits \(1, 7, 4\)"),
        (Z3[:, :1], CLASSES, "K at least 2"),
    ],
)
def test_labels_that_do_not_fit_are_refused_in_one_sentence(z, y, words):
    with pytest.raises(InputError, match=words):
        cross_entropy(z, y)


def test_options_that_make_no_sense_are_refused():
    with pytest.raises(UsageError, match=r"no loss 'mse'; choose one of cross-entropy, euclidean"):
        loss("mse")
    for call in (
        partial(focal, gamma=-1.0),
        partial(multilabel_focal, gamma=NAN),
        partial(multilabel_focal, alpha=1.2),
    ):
        with pytest.raises(UsageError, match="of a focal loss"):
            call(Z3, CLASSES)
    torch.testing.assert_close(multilabel_focal(Z3[:, :1], EACH[:, :1]), multilabel_focal(Z3[:, 0], EACH[:, 0]))


# --- several tasks ---------------------------------------------------------------------------------------------------

LOST = {"emotion": torch.tensor(1.5), "authenticity": torch.tensor(0.25)}


def test_the_sum_and_fixed_weights():
    assert float(Weighted(LOST)(LOST)) == 1.75
    assert float(Weighted(("emotion", "authenticity"), "sum")(LOST)) == 1.75
    fixed = Weighted({"emotion": 0.5, "authenticity": 4.0}, "fixed")
    assert float(fixed(LOST)) == 1.75 and float(fixed({"emotion": LOST["emotion"]})) == 0.75
    assert fixed.shares() == {"emotion": 0.5, "authenticity": 4.0} and not list(fixed.parameters())


def test_uncertainty_starts_as_the_sum_and_rests_where_the_variance_is_twice_the_loss():
    weighted = Weighted(LOST, "uncertainty")
    assert float(weighted(LOST).detach()) == 1.75
    assert sorted(weighted.state_dict()) == ["log_variance.authenticity", "log_variance.emotion"]
    # d/ds (e^-s L + s/2) = 1/2 − L at s = 0
    weighted(LOST).backward()
    assert float(weighted.log_variance["emotion"].grad) == pytest.approx(0.5 - 1.5)
    assert float(weighted.log_variance["authenticity"].grad) == pytest.approx(0.5 - 0.25)
    optimiser = torch.optim.LBFGS(weighted.parameters(), max_iter=100, line_search_fn="strong_wolfe")

    def closure():
        optimiser.zero_grad()
        found = weighted(LOST)
        found.backward()
        return found

    optimiser.step(closure)
    for name, value in LOST.items():
        assert weighted.shares()[name] == pytest.approx(1 / (2 * float(value)), rel=1e-3)
    # Σ ½ + ½ log 2 L
    assert float(weighted(LOST).detach()) == pytest.approx(1 + 0.5 * (math.log(3.0) + math.log(0.5)), abs=1e-4)


def test_uncertainty_is_a_gaussians_for_a_euclidean_loss():
    # −log N(d; 0, σ²) − ½ log 2π = d² / 2σ² + log σ, and the Euclidean loss of d is d² / 2
    weighted, d, sigma = Weighted(["it"], "uncertainty"), 0.7, 1.3
    with torch.no_grad():
        weighted.log_variance["it"].fill_(2 * math.log(sigma))
    told = -torch.distributions.Normal(0.0, sigma).log_prob(torch.tensor(d)) - 0.5 * math.log(2 * math.pi)
    assert float(weighted({"it": torch.tensor(d**2 / 2)}).detach()) == pytest.approx(float(told), rel=1e-6)


def test_the_weight_of_a_missing_task_stays():
    weighted = Weighted(LOST, "uncertainty")
    weighted({"emotion": LOST["emotion"]}).backward()
    assert weighted.log_variance["authenticity"].grad is None
    assert weighted.log_variance["emotion"].grad is not None


@pytest.mark.parametrize(
    ("tasks", "how", "words"),
    [
        (LOST.keys(), "mean", "Unknown task weighting 'mean'; choose one of fixed, sum, uncertainty"),
        ([], "sum", "different names"),
        (["a", "a"], "sum", "different names"),
        ({"a": -1.0}, "fixed", "at least 0"),
        ({"a": NAN}, "fixed", "at least 0"),
    ],
)
def test_invalid_task_weights_are_refused(tasks, how, words):
    with pytest.raises(UsageError, match=words):
        Weighted(tasks, how)


@pytest.mark.parametrize("losses", [{}, {"pose": torch.tensor(1.0)}])
def test_losses_of_other_tasks_are_refused(losses):
    with pytest.raises(UsageError, match="losses of the tasks emotion, authenticity, found"):
        Weighted(LOST)(losses)
