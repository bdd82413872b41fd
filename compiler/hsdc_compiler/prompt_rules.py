"""What no single field of a prompt run can say: each rule has its code, and points at the value that breaks it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence

from hsdc_compiler.faults import fault
from hsdc_compiler.node import Node
from hsdc_compiler.templates import read_template
from hsdc_schemas.components import Endpoint
from hsdc_schemas.errors import Diagnostic, did_you_mean
from hsdc_schemas.finetuning import FinetuneExperiment
from hsdc_schemas.gates import GateError, parse_gate
from hsdc_schemas.prompting import JsonAnswer, Prompt, PromptExperiment, TextAnswer, ranges_of
from hsdc_schemas.spec import Execution
from hsdc_schemas.wording import numbers_in

BLOCKS = ("persona", "policy", "context", "guidance")
VARIABLES = ("text", "fields", "labels", "examples", *BLOCKS)
Asked = PromptExperiment | FinetuneExperiment

DRAWS = ("temperature", "top_p", "top_k")


def task(experiment: Asked, tree: Node) -> Iterator[Diagnostic]:
    """The data set has what is decided, and every answer is one answer."""
    chosen, known = experiment.task, experiment.dataset.labels
    if chosen.target not in known:
        message = f"the data set has no label '{chosen.target}'"
        yield fault(tree, "E703", message, ("task", "target"), did_you_mean(chosen.target, known))
    if len(set(chosen.labels)) < len(chosen.labels):
        twice = Counter(chosen.labels).most_common(1)[0][0]
        yield fault(
            tree, "E703", f"'{twice}' is more than once an answer", ("task", "labels"), "write every label once"
        )
    if chosen.positive is not None and chosen.positive not in chosen.labels:
        message = f"the positive label '{chosen.positive}' is no answer"
        yield fault(tree, "E713", message, ("task", "positive"), did_you_mean(chosen.positive, chosen.labels))


def sampling(experiment: Asked, tree: Node) -> Iterator[Diagnostic]:
    """What shapes a draw needs a draw."""
    generation = experiment.generation
    if generation is None:
        return
    for name in DRAWS:
        if getattr(generation, name) is not None and not generation.sample:
            message = f"'{name}' shapes draws, and nothing is drawn: the likeliest token is taken"
            yield fault(tree, "E714", message, ("generation", name), "add 'sample: true', or take it out", at_key=True)
    if generation.sample and generation.temperature == 0:
        message = "at temperature 0 nothing is drawn"
        yield fault(tree, "E714", message, ("generation", "temperature"), "write 'sample: false' without a temperature")


def methods(experiment: Asked, tree: Node) -> Iterator[Diagnostic]:
    """Text is generated only where something says how, and the other way about."""
    answer = experiment.answer
    possible = (answer.method, *answer.allows)
    if experiment.generation is None and "generate" in possible:
        message = "'generate' needs to know how much to generate, and how"
        yield fault(tree, "E715", message, ("answer", "method"), "add 'generation: {max_tokens: 64}'")
    if experiment.generation is not None and "generate" not in possible:
        message = "nothing is generated where labels are ranked, so 'generation' changes nothing"
        hint = "take it out, or write 'allows: [generate]' under 'answer'"
        yield fault(tree, "E716", message, ("generation",), hint, at_key=True)
    if answer.normalise != "sum" and "rank" not in possible:
        message = "no label is ranked where text is generated, so 'normalise' changes nothing"
        hint = "take it out, or write 'allows: [rank]' under 'answer'"
        yield fault(tree, "E716", message, ("answer", "normalise"), hint, at_key=True)


def examples(experiment: Asked, tree: Node) -> Iterator[Diagnostic]:
    """Examples show answers that are allowed, in the format that is read."""
    yield from examples_of(experiment.prompt, experiment.task.labels, tree)


def examples_of(prompt: Prompt, labels: Sequence[str], tree: Node) -> Iterator[Diagnostic]:
    """The same of a prompt and the labels of its task."""
    known = (*(prompt.format.fields if isinstance(prompt.format, JsonAnswer) else ()), *ranges_of(prompt.format))
    written = tree.at(("prompt", "examples"))
    for position, example in enumerate(prompt.examples):
        node = written.value[position] if written is not None and written.is_sequence else tree
        if example.label not in labels:
            message = f"an example is answered '{example.label}', which is no answer of the task"
            yield fault(node, "E717", message, ("label",), did_you_mean(example.label, labels))
        for name in example.fields:
            if name not in known:
                message = f"an example's answer has '{name}', which the format does not"
                hint = did_you_mean(name, known) or "declare it under 'format.fields'"
                yield fault(node, "E717", message, ("fields", name), hint, at_key=True)
        try:
            numbers_in(ranges_of(prompt.format), example.fields)
        except ValueError as error:
            yield fault(node, "E717", f"an example's answer: {error}", ("fields",), "write a number that is read")


def numbers(experiment: Asked, tree: Node) -> Iterator[Diagnostic]:
    """A number is told from all else that an answer says, and may be something."""
    form, path = experiment.prompt.format, ("prompt", "format", "numbers")
    taken = (form.field, *form.fields) if isinstance(form, JsonAnswer) else ()
    if isinstance(form, TextAnswer):
        taken = (form.marker.strip().rstrip(":").casefold(),)
    for name, (low, high) in ranges_of(form).items():
        if name in taken:
            message = f"answers already say something else as '{name}'"
            yield fault(tree, "E745", message, (*path, name), "give the number a name of its own", at_key=True)
        if not low < high:
            message = f"no number is from {low:g} to {high:g}"
            yield fault(tree, "E745", message, (*path, name), "write a maximum that is above the minimum")


def said(experiment: Asked, method: str, tree: Node) -> Iterator[Diagnostic]:
    """Figures over numbers leave out rows whose answer says none, and ranked labels say none at all.

    Where only the profile ranks, what it is listed with says so.
    """
    heads = {name: labels for name, (_, labels) in experiment.tasks.items()}
    try:
        gates = [parse_gate(text, heads, experiment.numbers) for text in experiment.evaluation.gates]
    except GateError:
        return  # said where gates are looked at
    covered = {gate.metric.label for gate in gates if gate.metric.name == "coverage" and gate.operator in (">=", ">")}
    written = tree.at(("evaluation", "gates"))
    for position, gate in enumerate(gates):
        if not gate.metric.is_of_numbers:
            continue
        node = written.value[position] if written is not None and written.is_sequence else tree
        name = gate.metric.label
        if method == experiment.answer.method == "rank":
            message = f"labels are ranked here, so that no answer says '{name}': this gate stays undecided"
            yield fault(node, "W747", message, (), "it is decided where 'answer' is 'generate'")
        elif gate.metric.name != "coverage" and name not in covered:
            message = f"answers that do not say '{name}' are left out of this figure, and no gate bounds how many"
            yield fault(node, "W746", message, (), f"add 'coverage[{name}] >= 0.95'")


def templates(experiment: Asked, tree: Node) -> Iterator[Diagnostic]:
    """Templates are Jinja2 that can be read, over variables that exist; nothing of them is evaluated here."""
    yield from templates_of(experiment.prompt, tree)


def templates_of(prompt: Prompt, tree: Node) -> Iterator[Diagnostic]:
    """The same of a prompt."""
    for name in ("system", "user"):
        used, faults = template(getattr(prompt, name), VARIABLES, tree, ("prompt", name))
        yield from faults
        if name == "user" and used is not None and "text" not in used:
            message = "the template 'prompt.user' does not show the text, so every row asks the same"
            yield fault(tree, "E728", message, ("prompt", name), "write {{ text }} where it belongs")


def template(
    source: str, variables: Sequence[str], tree: Node, path: tuple[str, ...]
) -> tuple[frozenset[str] | None, list[Diagnostic]]:
    """The variables that a template uses, None where it is no Jinja2, and its faults: it uses none but those given."""
    found, name = read_template(source), ".".join(path)
    if found.fault:
        return None, [fault(tree, "E728", f"'{name}' is no template: {found.fault}", path, "write it as Jinja2")]
    faults = []
    for variable in sorted(found.names.difference(variables)):
        message = f"the template '{name}' uses '{variable}', which nothing gives it"
        faults.append(fault(tree, "E728", message, path, did_you_mean(variable, variables)))
    return found.names, faults


def blocks(experiment: Asked, tree: Node) -> Iterator[Diagnostic]:
    """What a prompt holds for its templates is shown by one of them."""
    prompt = experiment.prompt
    sides = [read_template(text) for text in (prompt.system, prompt.user)]
    if any(side.fault for side in sides):
        return
    given = {name for name in BLOCKS if getattr(prompt, name).strip()}
    given |= {"examples"} if prompt.examples and prompt.shots == "text" else set()
    for name in sorted(given - sides[0].names - sides[1].names):
        message = f"no template shows '{name}', so it changes nothing"
        hint = f"write {{{{ {name} }}}} into 'prompt.system' or 'prompt.user', or take it out"
        yield fault(tree, "E728", message, ("prompt", name), hint, at_key=True)


def rows(experiment: Asked, tree: Node) -> Iterator[Diagnostic]:
    """What is scored is there: the split, the subset, the group that is background."""
    evaluation, dataset = experiment.evaluation, experiment.dataset
    if evaluation.split not in dataset.splits:
        hint = did_you_mean(evaluation.split, dataset.splits)
        yield fault(tree, "E706", f"the data set has no split '{evaluation.split}'", ("evaluation", "split"), hint)
    name = evaluation.subset
    if name is not None and name not in dataset.subsets:
        hint = did_you_mean(name, dataset.subsets)
        yield fault(tree, "E721", f"the data set has no subset '{name}'", ("evaluation", "subset"), hint)
    elif name is not None and dataset.subsets[name].split != evaluation.split:
        message = f"the subset '{name}' is drawn from '{dataset.subsets[name].split}', not '{evaluation.split}'"
        yield fault(tree, "E721", message, ("evaluation", "subset"), "name the split that it is drawn from")
    if evaluation.background is not None and evaluation.background not in dataset.groups:
        hint = did_you_mean(evaluation.background, dataset.groups)
        message = f"the background '{evaluation.background}' is no group of the data set"
        yield fault(tree, "E726", message, ("evaluation", "background"), hint)


def profile(experiment: Asked, execution: Execution, tree: Node) -> Iterator[Diagnostic]:
    """The profile's method is one that the spec allows and the model offers; what it does not use is named."""
    answer, chosen = experiment.answer, execution.answer
    if chosen is not None and chosen not in (answer.method, *answer.allows):
        message = f"the profile takes answers by '{chosen}', and the spec allows '{answer.method}'"
        yield fault(tree, "E719", message, ("answer", "method"), f"write 'allows: [{chosen}]' under 'answer'")
        return
    method = chosen or answer.method
    yield from said(experiment, method, tree)
    if isinstance(experiment.model, Endpoint) and method == "rank":
        message = "labels cannot be ranked through an endpoint, which gives text alone"
        hint = "write 'method: generate', or 'allows: [generate]' with a profile that says 'answer: generate'"
        yield fault(tree, "E718", message, ("answer", "method"), hint)
    if isinstance(experiment.model, Endpoint) and execution.requests.most_cost and experiment.model.prices is None:
        message = "the profile caps what asking costs, and the endpoint has no prices, so nobody knows what is spent"
        hint = "add 'prices: {input_per_million: …, output_per_million: …}' to the model, or take 'most_cost' out"
        yield fault(tree, "E740", message, ("model",), hint)


RULES: tuple[Callable[[Asked, Node], Iterator[Diagnostic]], ...] = (
    task,
    sampling,
    methods,
    examples,
    numbers,
    templates,
    blocks,
    rows,
)
