"""Settings as dataclasses: filled from files, checked wherever they are made, refused where nothing reads them."""

from dataclasses import dataclass, replace

import pytest

from duchenne.clipnets.recipe import ClipRecipe
from duchenne.errors import UsageError
from duchenne.expression.recipe import ExpressionRecipe
from duchenne.learn.boosting import Recipe as BoostingRecipe
from duchenne.learn.recipes import Above, Settings, setting
from duchenne.lstm_pb.recipe import PBRecipe
from duchenne.micro.recipe import MicroRecipe
from duchenne.tabular.nets import NetRecipe


@dataclass(frozen=True)
class Oven(Settings):
    heat: str = setting("gas", choices=("gas", "wood"))
    level: int = setting(3, 1, 9, when={"heat": ("gas",)}, was="step")
    boost: float = setting(0.5, 0, 1, when={"level": Above(5)})
    racks: tuple[float, float] = setting((1.0, 2.0), 0, 10)
    names: tuple[str, ...] = setting((), lengths=(0, 1, 2), each=str)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"colour": 1}, "my.toml has the unknown key 'colour'; known are: heat, level, boost, racks, names."),
        ({"step": 4}, "my.toml: step is now level; rename it."),
        ({"level": "hot"}, "my.toml: level must be int, found 'hot'."),
        ({"level": 10}, "my.toml: level must lie between 1 and 9, found 10."),
        ({"heat": "coal"}, "my.toml: heat must be one of gas, wood, found 'coal'."),
        ({"racks": [1]}, "my.toml: racks must be a list of 2 numbers, found [1]."),
        ({"names": [1]}, "my.toml: names must be a list of 2 texts, found [1]."),
        ({"racks": [1, 11]}, "my.toml: racks must lie between 0 and 10, found (1.0, 11.0)."),
        (
            {"heat": "wood", "level": 3},
            'my.toml: level is read only where heat is "gas", found "wood"; leave level out.',
        ),
        ({"boost": 0.5}, "my.toml: boost is read only where level is above 5, found 3; leave boost out."),
        (
            {"heat": "wood", "boost": 0.1},
            'my.toml: boost is read only where heat is "gas", found "wood"; leave boost out.',
        ),
    ],
)
def test_what_is_wrong_is_one_sentence(given, said):
    with pytest.raises(UsageError) as caught:
        Oven.of(given, "my.toml")
    assert str(caught.value) == said


def test_a_recipe_is_checked_wherever_it_is_made():
    with pytest.raises(UsageError, match=r"^level must lie between 1 and 9, found 0\.$"):
        replace(Oven(), level=0)
    with pytest.raises(UsageError, match="level is read only where"):
        Oven("wood", level=4)
    assert Oven("wood").stored() == {"heat": "wood", "racks": (1.0, 2.0), "names": ()}  # only what is read
    full = Oven(level=7, boost=1, names=("a",))
    assert Oven.of(full.stored(), "x") == full and Oven.of({"racks": [1, 2]}, "x").racks == (1.0, 2.0)


@pytest.mark.parametrize("kind", [PBRecipe, ClipRecipe, ExpressionRecipe, MicroRecipe])
def test_every_shipped_recipe_says_what_is_read_and_nothing_else(kind):
    for name in kind.shipped():
        found = kind.read(name)
        assert kind.of(found.stored(), name) == found


@pytest.mark.parametrize(
    ("kind", "old", "new"),
    [
        (BoostingRecipe, "rounds", "n_estimators"),
        (BoostingRecipe, "penalty", "C"),
        (NetRecipe, "bag", "n_networks"),
        (PBRecipe, "adam", "optimizer"),
        (ExpressionRecipe, "sparse", "activity_regularization"),
        (ClipRecipe, "side", "image_size"),
        (MicroRecipe, "steps", "frames"),
    ],
)
def test_an_earlier_name_is_refused_with_the_new_one(kind, old, new):
    with pytest.raises(UsageError, match=rf"^here: {old} is now {new}; rename it\.$"):
        kind.of({old: 1}, "here")


def test_changes_are_named_where_they_do_not_go_with_the_recipe():
    with pytest.raises(UsageError, match=r"lstm-pb\.toml, reading = 'rnnpb': n_networks is read only where reading is"):
        PBRecipe.read("lstm-pb", reading="rnnpb")


def test_numbers_have_the_type_of_their_field_wherever_a_recipe_is_made():
    made = Oven(level=6, boost=1, racks=(1, 2))
    assert repr(made) == repr(Oven.of({"level": 6, "boost": 1.0, "racks": [1.0, 2.0]}, "my.toml"))
    assert repr(replace(made, boost=0)) == repr(replace(made, boost=0.0))
    with pytest.raises(UsageError, match=r"level must be int, found 1\.5"):
        Oven(level=1.5)  # type: ignore[arg-type]
