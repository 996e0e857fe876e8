"""What a configuration file may say, and how a wrong one is answered."""

from __future__ import annotations

import contextlib
import os
import tempfile
import time
from pathlib import Path
from typing import Self

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydantic import Field, ValidationError, field_validator, model_validator
from typing_extensions import TypeIs

from loom.config import (
    ActorsConfig,
    LoomConfig,
    Secret,
    Section,
    find_config,
    load_config,
    parse_config,
)
from loom.errors import ConfigError

SAMPLE = Path(__file__).parent.parent / "loom.config.yaml"
FILE = "loom.config.yaml"


class Budget(Section):
    max_per_day: int = Field(default=10, ge=0)
    share: float = 0.5


class Critic(Section):
    provider: str = "openai"
    api_key: Secret
    headers: dict[str, Secret] = Field(default_factory=dict)
    budget: Budget = Budget()
    models: dict[str, str] = Field(default_factory=dict)


class Quoting(Section):
    name: str = "x"
    token: Secret = Secret("")

    @field_validator("name")
    @classmethod
    def _quote_the_value(cls, name: str) -> str:
        raise ValueError(f"bad name {name}")

    @field_validator("token")
    @classmethod
    def _quote_the_secret(cls, token: Secret) -> Secret:
        raise ValueError(f"bad token {token.get_secret_value()}")


class QuotingAsAWhole(Section):
    token: Secret

    @model_validator(mode="after")
    def _quote_the_secret(self) -> Self:
        raise ValueError(f"bad token {self.token.get_secret_value()}")


def refused(text: str, *, env: dict[str, str] | None = None, **sections: type[Section]) -> str:
    """Return the message of the ConfigError that a text gives."""
    with pytest.raises(ConfigError) as caught:
        parse_config(text, source=FILE, env=env or {}, sections=sections)
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None, "what is chained to an error may hold a secret"
    return str(caught.value)


# What is read


@pytest.mark.parametrize("text", ["", "# nothing\n", "---\n", "null", "~", "{}", "\ufeff", "actors:\n", "modules:\n"])
def test_an_empty_file_gives_the_defaults(text: str) -> None:
    assert parse_config(text, env={}) == LoomConfig()


def test_the_sample_file_holds_the_defaults() -> None:
    assert parse_config(SAMPLE.read_text(), env={}) == LoomConfig()
    loaded = load_config(SAMPLE, env={})
    assert loaded.data == SAMPLE.parent / "loom-data"
    assert loaded.model_copy(update={"data": LoomConfig().data}) == LoomConfig()


def test_the_sample_file_names_every_key_of_the_core() -> None:
    written: dict[str, object] = yaml.safe_load(SAMPLE.read_text(encoding="utf-8"))
    fields = {name: field for name, field in LoomConfig.model_fields.items() if name != "sections"}
    parts = {name: field.annotation for name, field in fields.items() if _is_section(field.annotation)}
    assert {"journal", "actors", "projections", "alerts"} <= set(parts)

    assert set(written) == set(fields), "write the key at its default into loom.config.yaml"
    for name, part in parts.items():
        assert _is_section(part)
        assert set(written[name]) == set(part.model_fields), f"write the keys at their defaults below [{name}]"  # type: ignore[call-overload]


def _is_section(annotation: object) -> TypeIs[type[Section]]:
    return isinstance(annotation, type) and issubclass(annotation, Section)


def test_a_file_sets_what_it_names_and_leaves_the_rest() -> None:
    config = parse_config(
        "data: elsewhere\nworkspace: trial\nmodules: [my_agents, 'my.agents:Discount']\n"
        "actors: {mailbox_size: 3, lookup_timeout_s: null, snapshot_every: 0}\nlogging: {level: DEBUG}\n",
        env={},
    )
    assert (config.data, config.workspace) == (Path("elsewhere"), "trial")
    assert config.modules == ("my_agents", "my.agents:Discount")
    expected = ActorsConfig(mailbox_size=3, lookup_timeout_s=None, snapshot_every=0)
    assert (config.actors, config.logging.level) == (expected, "debug")
    assert config.journal == LoomConfig().journal


@pytest.mark.parametrize("key", ["mailbox_size", "mailboxSize", "mailbox-size"])
def test_a_key_may_be_spelled_in_snake_case_camel_case_or_with_dashes(key: str) -> None:
    assert parse_config(f"actors: {{{key}: 3}}", env={}).actors.mailbox_size == 3


def test_two_spellings_of_one_key_are_refused() -> None:
    assert refused("actors: {mailboxSize: 3, mailbox_size: 3}") == (
        "keys [actors.mailboxSize] and [actors.mailbox_size] in [loom.config.yaml] are two spellings of one; "
        "expected [mailbox_size] once: remove one of the two"
    )
    assert "keys [criticLlm] and [critic-llm]" in refused("criticLlm: {}\ncritic-llm: {}", critic_llm=Critic)


def test_data_is_seen_from_the_directory_of_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / FILE).write_text("data: ../shelf\n")
    monkeypatch.chdir(tmp_path)
    config = load_config(FILE, env={})
    monkeypatch.chdir("/")
    assert config.data.is_absolute()
    assert config.data.resolve() == tmp_path.parent.resolve() / "shelf"
    (tmp_path / FILE).write_text("data: /srv/loom\n")
    assert load_config(tmp_path / FILE, env={}).data == Path("/srv/loom")


def test_a_configuration_is_frozen() -> None:
    with pytest.raises(ValidationError):
        LoomConfig().actors.mailbox_size = 3  # type: ignore[misc]


# Variables


def test_a_missing_variable_names_itself_and_the_key_where_it_is_used() -> None:
    assert refused("critic-llm:\n  apiKey: ${OPENAI_API_KEY}\n", critic_llm=Critic) == (
        "environment variable [OPENAI_API_KEY] is not set; it is used at [critic-llm.apiKey] in [loom.config.yaml]: "
        "set it, or write ${OPENAI_API_KEY:-default}"
    )


@pytest.mark.parametrize(
    ("written", "env", "expected"),
    [
        ("${W}", {"W": "trial"}, "trial"),
        ("${W:-plan}", {}, "plan"),
        ("${W:-plan}", {"W": ""}, "plan"),
        ("${W:-plan}", {"W": "trial"}, "trial"),
        ("a-${W}-${V:-v}", {"W": "b"}, "a-b-v"),
        ("'${W}'", {"W": "NO"}, "NO"),
        ("${W}", {"W": "1.10"}, "1.10"),
    ],
)
def test_variables_are_filled_into_text(written: str, env: dict[str, str], expected: str) -> None:
    assert parse_config(f"workspace: {written}", env=env).workspace == expected


def test_a_variable_fits_a_number_and_a_boolean() -> None:
    text = (
        "actors: \n  snapshotEvery: ${N:-5}\n  idle_after_s: ${S}\njournal:\n  allowUnsupportedFilesystem: ${B:-yes}\n"
    )
    config = parse_config(text, env={"S": "1.5"})
    assert (config.actors.snapshot_every, config.actors.idle_after_s) == (5, 1.5)
    assert config.journal.allow_unsupported_filesystem is True
    assert set(refused(text, env={"S": "soon", "N": "1.5"}).splitlines()) == {
        "key [actors.snapshotEvery] in [loom.config.yaml] is [${N:-5}], filled in from the environment; "
        "expected [a whole number]: correct it",
        "key [actors.idle_after_s] in [loom.config.yaml] is [${S}], filled in from the environment; "
        "expected [a number]: correct it",
    }


def test_a_variable_can_add_no_key() -> None:
    text = "critic_llm:\n  apiKey: k\n  provider: ${P}\n"
    config = parse_config(text, env={"P": "x\nadmin: true"}, sections={"critic_llm": Critic})
    critic = config.sections["critic_llm"]
    assert isinstance(critic, Critic)
    assert critic.provider == "x\nadmin: true"


def test_what_a_variable_holds_is_not_filled_in_again_and_keys_are_never_filled_in() -> None:
    text = "critic_llm: {api_key: k, provider: '${P}', models: {'${P}': \"$${P}\"}}"
    critic = parse_config(text, env={"P": "${Q}"}, sections={"critic_llm": Critic}).sections["critic_llm"]
    assert isinstance(critic, Critic)
    assert (critic.provider, critic.models) == ("${Q}", {"${P}": "${P}"})


@pytest.mark.parametrize("written", ["${", "${W", "${1W}", "${W:default}", "${W:-${V}}", "a ${} b"])
def test_what_begins_like_a_variable_and_is_none_is_refused(written: str) -> None:
    assert refused(f"workspace: '{written}'", env={"W": "w", "V": "v"}) == (
        "value at [workspace] in [loom.config.yaml] has a ${ that begins no variable; "
        "expected [${NAME} or ${NAME:-default}]: correct it, or write $${"
    )


def test_a_variable_that_is_not_utf8_is_refused() -> None:
    assert "environment variable [W] is not text" in refused("data: ${W}", env={"W": "a\udcff"})


def test_the_environment_of_the_process_is_used_unless_another_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOOM_TEST_WORKSPACE", "trial")
    assert parse_config("workspace: ${LOOM_TEST_WORKSPACE}").workspace == "trial"
    assert "is not set" in refused("workspace: ${LOOM_TEST_WORKSPACE}", env={})


# Traps of YAML


@pytest.mark.parametrize(
    ("written", "reads"),
    [
        ("NO", "as a boolean"),
        ("on", "as a boolean"),
        ("1.10", "as a number"),
        ("42", "as a number"),
        ("0x1F", "as a number"),
        ("12:30:00", "in base 60"),
        ("1:30.5", "in base 60"),
        ("2026-01-01", "as a date"),
        ("010", "in base 8"),
    ],
)
def test_text_that_yaml_reads_as_something_else_has_to_be_quoted(written: str, reads: str) -> None:
    message = refused(f"workspace: {written}")
    assert message.startswith(f"key [workspace] in [{FILE}] is [{written}], which YAML reads {reads}; expected [")
    assert "quote it" in message
    text = f"critic_llm: {{api_key: k, provider: '{written}'}}"
    critic = parse_config(text, env={}, sections={"critic_llm": Critic}).sections["critic_llm"]
    assert isinstance(critic, Critic)
    assert critic.provider == written


@pytest.mark.parametrize("written", ["12:30:00", "010", "true", "1.5", "''", "[1]", "{a: 1}", "null", ".inf", "1e99"])
def test_a_whole_number_is_nothing_else(written: str) -> None:
    assert "key [actors.max_failures]" in refused(f"actors: {{max_failures: {written}}}")


@pytest.mark.parametrize("written", [".inf", "-.inf", ".nan", "'inf'", "'nan'", "true", "0", "-1"])
def test_a_time_is_a_finite_number_above_zero(written: str) -> None:
    assert "key [actors.idle_after_s]" in refused(f"actors: {{idle_after_s: {written}}}")


@pytest.mark.parametrize("written", [".inf", ".nan", "'-inf'"])
def test_a_number_of_an_extension_is_finite_without_its_saying_so(written: str) -> None:
    assert "expected [a finite number]" in refused(f"budget: {{share: {written}}}", budget=Budget)


@pytest.mark.parametrize("written", ["1", "0", "1.0", "maybe", "null"])
def test_a_boolean_is_true_or_false(written: str) -> None:
    assert "expected [true or false]" in refused(f"journal: {{allow_unsupported_filesystem: {written}}}")


@pytest.mark.parametrize(("written", "expected"), [("0x10", 16), ("1_000", 1000), ("+7", 7), ("0b11", 3)])
def test_numbers_that_cannot_be_misread_are_read(written: str, expected: int) -> None:
    assert parse_config(f"actors: {{max_failures: {written}}}", env={}).actors.max_failures == expected


def test_a_key_given_twice_names_both_lines() -> None:
    assert refused("actors:\n  max_failures: 1\n  idle_after_s: 3\n  max_failures: 2\n") == (
        "key [actors.max_failures] in [loom.config.yaml] is given twice, in lines [2] and [4]; "
        "expected [once]: remove one of the two"
    )


def test_an_alias_is_refused_before_it_is_followed() -> None:
    bomb = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
        f"{name}: &{name} [{','.join([f'*{before}'] * 9)}]\n"
        for before, name in zip("abcdefgh", "bcdefghi", strict=True)
    )
    assert (
        refused(bomb)
        == "in [loom.config.yaml], line [2], alias [*a] is used; expected [no aliases]: write the value out"
    )


@pytest.mark.parametrize(
    "text",
    ["workspace: !!python/name:os.system x", "workspace: !!binary aGk=", "modules: !!set {a}", "workspace: !own x"],
)
def test_a_tag_of_another_type_is_refused(text: str) -> None:
    assert "has the tag [!" in refused(text)


def test_deep_nesting_many_values_and_long_files_are_refused() -> None:
    assert "nested deeper than [32]" in refused("[" * 100_000)
    assert "nested deeper than [32]" in refused("- " * 100_000)
    assert "more values than [20000]" in refused("a: [" + "1," * 20_001 + "]")
    assert "longer than a configuration may be" in refused("#" * (1024 * 1024 + 1))


@pytest.mark.slow
def test_the_longest_file_is_answered_in_bounded_time() -> None:
    begun = time.perf_counter()
    for unit in ("k: ", "? ", "[", "{", "- ", "'", "\\", "&a ", "!a ", "a\n", "#\n", "${", "0", "_0", "\t"):
        text = "workspace: " + unit * ((1024 * 1024 - 16) // len(unit))
        refused(text)
    assert time.perf_counter() - begun < 60


@pytest.mark.parametrize(
    ("text", "kind"), [("- a", "a list"), ("hello", "a single value"), ("5", "a single value"), ("[]", "a list")]
)
def test_what_is_no_mapping_is_refused(text: str, kind: str) -> None:
    assert refused(text).startswith(f"[{FILE}] holds {kind}; expected [a mapping of keys to values]")


def test_what_is_no_yaml_names_line_and_column_and_not_the_text() -> None:
    message = refused("workspace: a\ncritic: {key: hunter2")
    assert message.startswith(f"[{FILE}] is not YAML at line [2], column [")
    assert "hunter2" not in message
    assert "put ${...} in quotes" in refused("modules: [${A}]")


def test_text_that_cannot_be_stored_is_refused() -> None:
    for escape in (r"\0", r"\ud800"):
        assert "half of a surrogate pair" in refused(f'data: "a{escape}"')
        assert "half of a surrogate pair" in refused(f'"a{escape}": 1')
    assert refused('data: "a\\U7fffffff"').startswith(f"[{FILE}] is not YAML")


# What a wrong file is answered


def test_an_unknown_key_names_the_nearest_known_one() -> None:
    message = refused("actors:\n  mailboxSze: 3\n")
    assert message.startswith(f"key [actors.mailboxSze] in [{FILE}] is unknown; expected [")
    assert message.endswith("]: did you mean [mailbox_size]?")
    assert "resume_attempts" in message
    assert refused("jurnal: {}").endswith("did you mean [journal]?")
    assert refused("Workspace: x").endswith("did you mean [workspace]?")
    assert refused("zzz: hunter2").endswith("]: remove it, or open loom with the extension that brings this section")
    assert "hunter2" not in refused("zzz: hunter2")


def test_all_problems_are_listed_one_a_line() -> None:
    text = (
        "workspace: NO\nfoo: 1\nactors: {max_failures: 0, mailboxSize: lots}\ndata: ${D}\njournal: {durability: some}\n"
    )
    lines = refused(text).splitlines()
    assert sorted(line.split(" in [")[0].split(" is ")[0] for line in lines) == [
        "environment variable [D]",
        "key [actors.mailboxSize]",
        "key [actors.max_failures]",
        "key [foo]",
        "key [journal.durability]",
        "key [workspace]",
    ]
    assert all(f"[{FILE}]" in line for line in lines)


def test_a_list_of_problems_is_bounded() -> None:
    lines = refused("".join(f"k{number}: 1\n" for number in range(500))).splitlines()
    assert (len(lines), lines[-1]) == (21, "… and [480] more")


def test_every_message_is_one_line_of_printable_text() -> None:
    with pytest.raises(ConfigError, match=r"\[a\\nb.yaml\]") as caught:
        parse_config("zzz: 1", source="a\nb.yaml", env={})
    assert str(caught.value).isprintable()
    message = refused('"a\\e[31m\\nb": 1\nworkspace: "x\\e]0;y\\a\\nkey [z]"\nactors: "' + "z" * 5_000 + '"\n')
    assert len(message.splitlines()) == 3
    assert all(line.isprintable() and len(line) < 400 for line in message.splitlines())


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("actors: {max_failures: 0}", "is [0]; expected [at least 1]: correct it"),
        ("journal: {max_entry_bytes: 1023}", "expected [at least 1024]"),
        ("journal: {max_entry_bytes: 16777217}", "expected [at most 16777216]"),
        ("journal: {durability: some}", "is [some]; expected [one of 'full' or 'process-crash-only']"),
        ("logging: {level: loud}", "expected [one of 'debug', 'info', 'warning', 'error' or 'critical']"),
        ("actors: 5", "is [5]; expected [a mapping of keys to values]"),
        ("actors: []", "is a list; expected [a mapping of keys to values]"),
        ("modules: my.agents", "is [my.agents]; expected [a list]"),
        ("workspace:", "is empty; expected [text]"),
        ("workspace: a/b", "is [a/b]; expected [letters, digits"),
        ("workspace: ..", "is [..]; expected [letters, digits"),
        ("data: ''", "expected [the path of a directory]"),
        ("data: ~/loom", "write ${HOME} in its place"),
        ('data: "a\\nb"', "is [a\\nb]; expected [the path of a directory]"),
        ("version: 0", "is [0]; expected [at least 1]"),
        ("version: true", "is [true]; expected [a number]"),
        ("sections: {}", "key [sections] in [loom.config.yaml] is unknown"),
    ],
)
def test_a_wrong_value_says_what_was_expected(text: str, expected: str) -> None:
    assert expected in refused(text)


@pytest.mark.parametrize(
    "module",
    ["examples/discount_approval.py", "my-agents", "", ".relative", "a..b", "a:b:c", "a:b.c", "a:", "a b", "import.x"],
)
def test_a_module_is_an_import_string(module: str) -> None:
    message = refused(f"modules: [good, '{module}']")
    assert message.startswith(f"key [modules.1] in [{FILE}] is [{module}]; expected [package.module or ")


def test_a_newer_version_is_named_and_nothing_else_is_judged() -> None:
    assert refused("version: 2\nactors: {later: 1}\nnew: {}\n") == (
        "key [version] in [loom.config.yaml] is [2]; expected [at most 1]: update loom, it is older than the file"
    )


# Files


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"config file \[.*none.yaml\] does not exist; expected \[a YAML file\]: create"
    ):
        load_config(tmp_path / "none.yaml")


def test_a_directory_in_place_of_a_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"is a directory; expected \[a YAML file\]: name the loom.config.yaml in it"):
        load_config(tmp_path)


def test_a_file_that_is_not_utf8_is_named(tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(b"workspace: caf\xe9\n")
    with pytest.raises(ConfigError, match=r"is not text at byte \[14\]; expected \[UTF-8\]: save it as UTF-8"):
        load_config(tmp_path / FILE)


def test_a_file_with_a_byte_order_mark_is_read(tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(b"\xef\xbb\xbfworkspace: trial\r\n")
    assert load_config(tmp_path / FILE, env={}).workspace == "trial"


def test_files_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(b"#" * (1024 * 1024 + 1))
    with pytest.raises(ConfigError, match="too long"):
        load_config(tmp_path / FILE)
    for path in (tmp_path / FILE / "below", tmp_path / ("n" * 300), "a\0b", "/dev/zero"):
        with pytest.raises(ConfigError, match=r"config file \[.*\] "):
            load_config(path)


def test_the_nearest_file_above_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    below = tmp_path / "a" / "b"
    below.mkdir(parents=True)
    (tmp_path / FILE).touch()
    assert find_config(below) == tmp_path / FILE
    (tmp_path / "a" / FILE).mkdir()
    assert find_config(below) == tmp_path / FILE, "a directory of that name is no file"
    (below / FILE).touch()
    monkeypatch.chdir(below)
    assert find_config() == below / FILE


def test_no_file_above_is_none() -> None:
    assert find_config("/proc/self") is None


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_a_file_above_that_belongs_to_somebody_else_is_refused(tmp_path: Path) -> None:
    below = tmp_path / "a"
    below.mkdir()
    (tmp_path / FILE).touch()
    os.chown(tmp_path / FILE, 12345, 12345)
    with pytest.raises(ConfigError, match=r"belongs to user \[12345\]"):
        find_config(below)
    assert find_config(tmp_path) == tmp_path / FILE, "the directory asked about is trusted, as Python's own path is"
    os.chown(below, 12345, 12345)
    assert find_config(below) == tmp_path / FILE


# Sections of extensions


def test_an_extension_reads_a_section_of_its_own() -> None:
    text = "critic-llm:\n  apiKey: ${KEY}\n  budget: {maxPerDay: 3}\n  models: {gpt-4o-mini: a, camelCase: b}\n"
    config = parse_config(text, env={"KEY": "hunter2"}, sections={"critic_llm": Critic, "budget": Budget})
    critic = config.sections["critic_llm"]
    assert isinstance(critic, Critic)
    assert (critic.api_key.get_secret_value(), critic.budget.max_per_day) == ("hunter2", 3)
    assert critic.models == {"gpt-4o-mini": "a", "camelCase": "b"}, "keys that are data are left as they are"
    assert config.sections["budget"] == Budget(), "an absent section has its defaults"


def test_an_absent_section_with_required_keys_is_absent_and_an_empty_one_is_refused() -> None:
    assert dict(parse_config("", env={}, sections={"critic_llm": Critic}).sections) == {}
    assert refused("critic-llm:\n", critic_llm=Critic) == (
        "key [critic-llm.api_key] in [loom.config.yaml] is missing; expected [a value]: add it"
    )


def test_a_section_nobody_registered_is_unknown() -> None:
    assert refused("critic-llm: {apiKey: hunter2}") == (
        "key [critic-llm] in [loom.config.yaml] is unknown; expected [actors, alerts, data, engine, extensions, "
        "journal, logging, modules, operations, policies, projections, retention, schedules, version, workspace]: "
        "remove it, or open loom with the extension that brings this section"
    )


def test_errors_inside_a_section_are_spelled_as_in_the_file() -> None:
    message = refused("critic-llm: {apiKey: k, budget: {maxPerDay: -1, maxPrDay: 2}}", critic_llm=Critic)
    assert message.splitlines()[0].startswith(
        f"key [critic-llm.budget.maxPerDay] in [{FILE}] is [-1]; expected [at least 0]"
    )
    assert message.splitlines()[1].endswith("expected [max_per_day, share]: did you mean [max_per_day]?")


@pytest.mark.parametrize("name", ["journal", "sections", "criticLlm", "critic-llm", "", "a b"])
def test_a_section_needs_a_name_of_its_own(name: str) -> None:
    with pytest.raises(ConfigError, match="cannot be registered"):
        parse_config("", sections={name: Critic})


# Secrets


@pytest.mark.parametrize(
    "written",
    [
        "4711",
        "0123",
        "12:30:00",
        "2026-01-01",
        "[4711]",
        "{a: 4711}",
        "0.4711",
        "yes",
        "!!python/x 4711",
        "a\n 4711: b",
    ],
)
def test_a_secret_appears_in_no_error(written: str) -> None:
    message = refused(f"critic-llm:\n  apiKey: {written}\n", critic_llm=Critic)
    assert not any(part in message for part in ("4711", "123", "30", "2026", "yes"))
    message = refused(f"critic-llm:\n  apiKey: k\n  headers:\n    auth: {written}\n", critic_llm=Critic)
    assert not any(part in message for part in ("4711", "123", "30", "2026", "yes"))


def test_a_value_below_an_unknown_key_is_not_shown_as_the_key_may_be_a_misspelt_secret() -> None:
    message = refused("critic-lm: {apiKey: 04711}\nworkspace: 04712\n", critic_llm=Critic)
    assert "4711" not in message
    assert "is [04712]" in message


def test_a_secret_appears_in_no_repr() -> None:
    config = parse_config("critic-llm: {apiKey: hunter2}", env={}, sections={"critic_llm": Critic})
    assert "hunter2" not in repr(config) + str(config) + config.model_dump_json()


def test_what_a_variable_holds_appears_in_no_error() -> None:
    text = "workspace: ${W}\ndata: x\nmodules:\n- ${W}\nactors:\n  max_failures: ${W}\nlogging:\n  level: ${W}\n"
    message = refused(text, env={"W": "hunter2 and more"})
    assert len(message.splitlines()) == 4
    assert "hunter2" not in message


def test_a_validator_that_quotes_its_value_gives_no_secret_away() -> None:
    message = refused("own:\n  name: ${N}\n  token: hunter2\n", env={"N": "hunter2"}, own=Quoting)
    assert len(message.splitlines()) == 2
    assert "hunter2" not in message
    assert "hunter2" not in refused("own: {token: hunter2}", own=QuotingAsAWhole)
    assert "bad name plain" in refused("own: {name: plain}", own=Quoting)


# Always


_KEYS = st.sampled_from(
    [*LoomConfig.model_fields, *ActorsConfig.model_fields, "criticLlm", "api_key", "x", "${A}", "<<"]
)
_SCALARS = st.sampled_from(
    [
        "NO",
        "1.10",
        "12:30:00",
        "2026-01-01",
        "010",
        "0x",
        "0b_",
        "~",
        ".inf",
        ".nan",
        "${A}",
        "${B:-1}",
        "${",
        "$${A}",
        "!!int",
        "!!str",
        "!!float",
        "!!bool",
        "!!null",
        "&a",
        "*a",
        "!!timestamp",
        "-",
        "?",
        ":",
        "|",
        ">",
        "'",
        '"',
        "[]",
        "{}",
        "!!set",
        "!!omap",
        "!!binary",
        "=",
        "<<",
        "1_0",
        "-0",
        "+1",
        "1e5",
        "1.5e+3",
        "_",
        "%YAML",
        "@",
        "`",
        "\\",
        "!<x>",
        "!a!b",
    ]
)
_LINES = st.lists(
    st.tuples(st.sampled_from(["", "  ", "    ", "- ", "\t"]), _KEYS, st.sampled_from([": ", ":", " "]), _SCALARS),
    max_size=8,
).map(lambda lines: "\n".join("".join(line) for line in lines))
_TAGGED = st.tuples(_KEYS, _SCALARS, _SCALARS | st.text(max_size=12)).map(lambda parts: "{}: {} {}".format(*parts))


@settings(max_examples=1_500, deadline=None)
@given(st.text() | st.text("[]{}:,-?&*!|>'\"%@`#\\ \n\tax0.$_~<=\0\ud800\ufeff\x85") | _LINES | _TAGGED)
@example("workspace: !!int abc")
@example("workspace: !!int ''")
@example("workspace: !!float '+'")
@example("workspace: !!bool maybe")
@example("workspace: !!timestamp x")
@example("actors: {max_failures: " + "9" * 5_000 + "}")
@example('workspace: "\\U7fffffff"')
@example("%YAML 99999999999999999999.1\n---\n")
@example("a: |99\n")
@example("--- a\n--- b\n")
@example("? [a]\n: b\n")
@example("<<: {workspace: x}")
def test_any_text_loads_or_is_refused_with_a_config_error(text: str) -> None:
    message = "fine"
    try:
        parse_config(text, source=FILE, env={"A": "x\nversion: 3"}, sections={"critic_llm": Critic})
    except ConfigError as error:
        message = str(error)
    assert all(line and line.isprintable() for line in message.split("\n"))


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_load_or_are_refused_with_a_config_error(raw: bytes) -> None:
    with tempfile.TemporaryDirectory() as directory, contextlib.suppress(ConfigError):
        path = Path(directory) / FILE
        path.write_bytes(raw)
        assert isinstance(load_config(path, env={}), LoomConfig)
