# SPDX-License-Identifier: Apache-2.0
"""The table of layouts: how the rows of public reasoning data sets become `messages`, and `problem` with `solution`.

A layout is a declaration; `layout_readers` and `layout_turns` hold what it is declared with, `layouts` applies it.
Replies are `<think>`, line break, reasoning, line break, `</think>`, blank line, answer.
"""

from dataclasses import dataclass

from open_r1.data.layout_chosen import Chosen
from open_r1.data.layout_readers import (
    CountdownProblem,
    Gold,
    GoldUnlessTests,
    GoldWithin,
    LastBox,
    Only,
    Reader,
    SyntheticGold,
    Text,
    Unwrapped,
    Without,
    columns_of,
)
from open_r1.data.layout_turns import AsTheyAre, Prompt, PromptAndReply, Reply, Trace, Turns

MESSAGES, PROBLEM = "messages", "problem"
TARGETS = (MESSAGES, PROBLEM)


@dataclass(frozen=True)
class Layout:
    """How the rows of some data sets are mapped.

    Args:
        name: Value of `dataset_layout`.
        summary: What it maps, for people.
        sets: Names on the hub whose rows have this layout, also copies of them under other owners.
        messages: Reader of the conversation for SFT; None where there is none.
        problem: Reader of the prompt for GRPO; None where there is none.
        solution: Reader of the gold answer; None where rewards judge by other columns.
        messages_if: Conditions on rows for SFT.
        problem_if: Conditions on rows for GRPO.
        with_columns: Other columns that rewards read; they tell data sets apart and may not be null.
        is_distinct: Whether of rows with the same problem only the first is kept for GRPO.
        drop: Columns that must not stay beside the mapped ones.
    """

    name: str
    summary: str
    sets: tuple[str, ...] = ()
    messages: Reader | None = None
    problem: Reader | None = None
    solution: Reader | None = None
    messages_if: tuple[Only, ...] = ()
    problem_if: tuple[Only, ...] = ()
    with_columns: tuple[str, ...] = ()
    is_distinct: bool = False
    drop: tuple[str, ...] = ()

    def readers(self, target: str) -> tuple[Reader, ...]:
        """Return the readers of a target (`TARGETS`); none where the layout hasn't it."""
        readers = (self.messages,) if target == MESSAGES else (self.problem, self.solution)
        return tuple(reader for reader in readers if reader is not None)

    def conditions(self, target: str) -> tuple[Only, ...]:
        """Return the conditions on rows for a target."""
        return self.messages_if if target == MESSAGES else self.problem_if

    def targets(self) -> tuple[str, ...]:
        """Return the targets that the layout has."""
        return tuple(target for target in TARGETS if self.readers(target))

    def missing(self, target: str, columns: list[str]) -> list[str]:
        """Return the columns that data with `columns` lack for a target, alternatives as `a or b`."""
        needs = [options for reader in self.readers(target) for options in reader.needs]
        needs += [(column,) for column in self.with_columns if target == PROBLEM]
        return [" or ".join(options) for options in dict.fromkeys(needs) if not set(options) & set(columns)]

    def fits(self, target: str, columns: list[str]) -> bool:
        """Return whether the layout has a target, and data with `columns` have what it needs."""
        return bool(self.readers(target)) and not self.missing(target, columns)

    def inputs(self, target: str) -> set[str]:
        """Return the columns that are read for a target."""
        return columns_of(self.readers(target), self.conditions(target))


_MATH = (Text("problem"), Gold("answer"))
_PROMPTS = ("problem", "question", "prompt", "instruction", "problem_statement")

LAYOUTS = (
    Layout(
        "thought_turns",
        "from/value turns (human/gpt or user/assistant) with thought markers or tags; the system prompt goes",
        ("bespokelabs/Bespoke-Stratos-17k", "HuggingFaceH4/Bespoke-Stratos-17k", "open-thoughts/OpenThoughts-114k",
         "NovaSky-AI/Sky-T1_data_17k"),
        messages=Turns(("conversations", "messages")),
    ),
    Layout(
        "openthoughts",
        "OpenThoughts metadata: problem, deepseek_reasoning and deepseek_solution; test_cases for code",
        ("open-thoughts/OpenThoughts-114k", "mlfoundations-dev/openthoughts_code"),
        messages=Reply("problem", "deepseek_reasoning", "deepseek_solution"),
        problem=Text("problem"),
        solution=GoldUnlessTests("ground_truth_solution", "test_cases"),
    ),
    Layout(
        "dolphin",
        "a prompt of messages, reasoning and answer beside it",
        ("cognitivecomputations/dolphin-r1", "QuixiAI/dolphin-r1"),
        messages=PromptAndReply("messages", "reasoning", "answer"),
    ),
    Layout(
        "r1_distill_v0",
        "a problem and reannotated_assistant_content with think tags",
        ("ServiceNow-AI/R1-Distill-SFT",),
        messages=Trace("problem", "reannotated_assistant_content"),
    ),
    Layout(
        "r1_distill_v1",
        "reannotated_messages; `messages` in the data is the reply before reannotation",
        ("ServiceNow-AI/R1-Distill-SFT",),
        messages=Turns(("reannotated_messages",)),
    ),
    Layout(
        "s1k_1.1",
        "a question with DeepSeek's thinking trajectory and attempt",
        ("simplescaling/s1K-1.1", "mlx-community/s1K-1.1"),
        messages=Reply("question", "deepseek_thinking_trajectory", "deepseek_attempt"),
        problem=Text("question"),
        solution=Gold("solution"),
    ),
    Layout(
        "s1k",
        "a question with thinking_trajectories (a list of one) and attempt",
        ("simplescaling/s1K",),
        messages=Reply("question", "thinking_trajectories", "attempt"),
        problem=Text("question"),
        solution=Gold("solution"),
    ),
    Layout(
        "medical_o1",
        "Question, Complex_CoT and Response; answers are prose",
        ("FreedomIntelligence/medical-o1-reasoning-SFT",),
        messages=Reply("Question", "Complex_CoT", "Response"),
    ),
    Layout(
        "limo",
        "a question, a trace without tags (`solution`) and the answer",
        ("GAIR/LIMO", "GAIR/LIMO-v2"),
        messages=Trace("question", "solution", is_tagged=False, gold="answer"),
        problem=Text("question"),
        solution=Gold("answer"),
    ),
    Layout(
        "magpie",
        "an instruction and a response with think tags",
        ("Magpie-Align/Magpie-Reasoning-V2-250K-CoT-Deepseek-R1-Llama-70B",),
        messages=Trace("instruction", "response"),
    ),
    Layout(
        "numina_qwq",
        "a prompt, a response without tags, ground_truth and `correct`: correct responses only",
        ("PrimeIntellect/NuminaMath-QwQ-CoT-5M",),
        messages=Trace("prompt", "response", is_tagged=False, gold="ground_truth"),
        messages_if=(Only("correct", True, "a response that is not correct"),),
        problem=Text("prompt"),
        solution=Gold("ground_truth"),
        is_distinct=True,
    ),
    Layout(
        "synthetic_1",
        "a prompt and llm_response with think tags: score 1 for SFT; mathematics and code for GRPO",
        ("PrimeIntellect/SYNTHETIC-1", "MaziyarPanahi/SYNTHETIC-1-800K"),
        messages=Trace("prompt", "llm_response"),
        messages_if=(Only("score", 1.0, "a response without score 1"),),
        problem=Text("prompt"),
        solution=SyntheticGold(),
        is_distinct=True,
    ),
    Layout(
        "openr1_math",
        "generations with verdicts: the published turn, or the first that math_verify (then llama) calls right",
        ("open-r1/OpenR1-Math-220k",),
        messages=Chosen(
            ("problem",),
            verdicts=("correctness_math_verify", "correctness_llama"),
            complete="is_reasoning_complete",
            published="messages",
        ),
        problem=Text("problem"),
        solution=Gold("answer"),
    ),
    Layout(
        "codeforces_cots",
        "messages as they are, without the bare prompt beside them",
        ("open-r1/codeforces-cots",),
        messages=AsTheyAre(),
        drop=("prompt",),
    ),
    Layout(
        "problem_answer",
        "a problem and its answer (DeepScaleR, AIME, MATH-500)",
        ("agentica-org/DeepScaleR-Preview-Dataset", "HuggingFaceH4/aime_2024", "HuggingFaceH4/MATH-500",
         "yentinglin/aime_2025", "MathArena/aime_2025", "MathArena/aime_2026", "math-ai/aime25"),
        problem=_MATH[0],
        solution=_MATH[1],
    ),
    Layout(
        "simplerl",
        "question and answer; the templated prompt is replaced",
        ("hkust-nlp/SimpleRL-Zoo-Data",),
        problem=Text("question"),
        solution=Gold("answer"),
    ),
    Layout(
        "dapo",
        "a wrapped prompt and reward_model.ground_truth: unwrapped, each problem once",
        ("BytedTsinghua-SIA/DAPO-Math-17k",),
        problem=Unwrapped("prompt"),
        solution=GoldWithin("reward_model", "ground_truth"),
        is_distinct=True,
    ),
    Layout(
        "dapo_processed",
        "a prompt, unwrapped if it is wrapped, and solution, the bare answer",
        ("open-r1/DAPO-Math-17k-Processed",),
        problem=Unwrapped("prompt"),
        solution=Gold("solution"),
        is_distinct=True,
    ),
    Layout(
        "numina_1.5",
        "problem and answer; no proofs, and nothing that is marked invalid",
        ("AI-MO/NuminaMath-1.5", "nlile/NuminaMath-1.5-RL-Verifiable"),
        problem=_MATH[0],
        solution=_MATH[1],
        problem_if=(
            Without("question_type", "proof", "a proof"),
            Only("problem_is_valid", "Yes", "a problem that is not marked valid"),
            Only("solution_is_valid", "Yes", "a solution that is not marked valid"),
        ),
    ),
    Layout(
        "numina_tir",
        "messages as they are (tool-integrated solutions); solution is the last box",
        ("AI-MO/NuminaMath-TIR", "cg666/NuminaMath-TIR-8000"),
        messages=AsTheyAre(),
        problem=Text("problem"),
        solution=LastBox("solution"),
    ),
    Layout(
        "countdown",
        "nums and target; the problem is written out, the reward judges by the two columns",
        ("Jiayi-Pan/Countdown-Tasks-3to4",),
        problem=CountdownProblem(),
    ),
    Layout(
        "primeintellect_code",
        "a prompt and verification_info, the text of a struct with test cases",
        ("PrimeIntellect/verifiable-coding-problems",),
        problem=Text("prompt"),
        with_columns=("verification_info",),
    ),
    Layout(
        "open_r1_code",
        "problem_statement and verification_info, a struct with test cases",
        tuple(f"open-r1/verifiable-coding-problems-python{suffix}" for suffix in (
            "", "-10k", "_decontaminated", "_decontaminated-tested", "_decontaminated-tested-shuffled")),
        problem=Text("problem_statement"),
        with_columns=("verification_info",),
    ),
    Layout(
        "codeforces",
        "a prompt for programs; official_tests and generated_checker stay as they are",
        ("open-r1/codeforces",),
        problem=Text("prompt"),
        with_columns=("official_tests",),
    ),
    Layout(
        "ioi",
        "a subtask's prompt (`problem`); test_names and grader_files stay as they are",
        ("open-r1/ioi",),
        problem=Text("problem"),
        with_columns=("test_names",),
    ),
    Layout(
        "generations",
        "what our scripts write: the first finished of `generations`; problem and solution by their usual names",
        messages=Chosen(_PROMPTS, conversations="conversations"),
        problem=Prompt(*_PROMPTS),
        solution=Gold("solution", "answer", "ground_truth", "gold"),
    ),
    Layout(
        "pass_rate",
        "compute_pass_rate.py's rows: the first finished completion that accuracy (or tests of a program) call right",
        messages=Chosen(
            _PROMPTS,
            generations="pass_rate_generations",
            finish_reasons="pass_rate_finish_reasons",
            verdicts=tuple(f"pass_rate_rewards_{name}" for name in
                           ("accuracy", "code", "binary_code", "ioi_code", "cf_code")),
        ),
    ),
    Layout(
        "messages",
        "messages as they are",
        ("open-r1/Mixture-of-Thoughts", "cognitivecomputations/dolphin-r1", "QuixiAI/dolphin-r1"),
        messages=AsTheyAre(),
    ),
)  # fmt: skip
