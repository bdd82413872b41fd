"""Faults to plant where an encoder run trains an adapter: name, file, what is replaced, by what, and the tests."""

from __future__ import annotations

from faults_of_finetunes import FINETUNES

NN = "runtime/hsdc_runtime/nn"
ADAPTED = "tests/nn/test_adapted_encoder.py"
PUT_ON = "    require_same(published_with_heads(classifier), tensors)\n"
ADAPTERS = (
    (
        "the head of an adapter need not be saved",
        "compiler/hsdc_compiler/adapter_rules.py",
        "if missing := [part for part in beside if part not in saves]:",
        "if missing := [part for part in beside[1:] if part not in saves]:",
        ("tests/compiler/test_cases.py",),
    ),
    (
        "the heads are left out of what is saved",
        f"{NN}/adapted_encoder.py",
        "if not name.startswith(OWN)}",
        'if name.startswith("pooling")}',
        (ADAPTED,),
    ),
    ("an adapter is read whatever its file lacks", f"{NN}/adapted_encoder.py", PUT_ON, "", (ADAPTED,)),
    (
        "an encoder's adapter is not that of the best epoch",
        f"{NN}/encoder_training.py",
        "    learner.restore(found.weights)\n",
        "",
        (ADAPTED,),
    ),
    (
        "a resumed adapter begins anew",
        f"{NN}/encoder_learner.py",
        "            restore_trained(self.classifier, weights)\n",
        "            pass\n",
        (ADAPTED,),
    ),
    (
        "another adapter voids no training",
        "schemas/hsdc_schemas/kinds.py",
        "found = _with(stage, sections=(*stage.sections, *ADAPTED), packages",
        "found = _with(stage, packages",
        ("tests/schemas/test_stage_keys.py",),
    ),
    *FINETUNES,
)
