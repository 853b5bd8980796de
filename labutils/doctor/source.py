"""What the Python files of a run show: the course's skeleton has some of these faults as it is handed out."""

import ast
from collections.abc import Iterator

from labutils.doctor.findings import Case, look

FIRST = 10  # epochs


def _each(case: Case) -> Iterator[tuple[str, ast.Module, str]]:
    for name, tree in (case.code or {}).items():
        yield name, tree, ast.unparse(tree)


def _functions(tree: ast.AST) -> Iterator[ast.FunctionDef]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef))


def _calls(tree: ast.AST) -> Iterator[tuple[ast.Call, str]]:
    return ((node, ast.unparse(node.func)) for node in ast.walk(tree) if isinstance(node, ast.Call))


@look("batchnorm", "code")
def eval_is_hidden(case: Case) -> str:
    """A class of modules has a method eval of its own, which does not switch the mode."""
    for name, tree, _ in _each(case):
        for owner in (node for node in ast.walk(tree) if isinstance(node, ast.ClassDef)):
            module = any(ast.unparse(base).split(".")[-1] in ("Module", "LightningModule") for base in owner.bases)
            for function in owner.body if module else ():
                text = ast.unparse(function)
                if isinstance(function, ast.FunctionDef) and function.name == "eval":
                    if not any(part in text for part in ("super().eval", "train(False)", "training = False")):
                        what = f"{owner.name}.eval hides nn.Module.eval, and BatchNorm stays as it is"
                        return f"{name}:{function.lineno}: {what}"
    return ""


@look("psnr-mean", "code")
def divided_by_one_less(case: Case) -> str:
    """A sum of PSNRs over len - 1."""
    for name, tree, _ in _each(case):
        for node in ast.walk(tree):
            if (
                isinstance(node, ast.BinOp)
                and isinstance(node.op, ast.Div)
                and "psnr" in ast.unparse(node.left).lower()
            ):
                by = ast.unparse(node.right)
                one_less = by.startswith("len(") and by.endswith("- 1") and "psnr" in by.lower()
                if by == "628" or one_less:
                    return f"{name}:{node.lineno}: {ast.unparse(node)}"
    return ""


@look("kl-sum", "code")
def summed_beside_a_mean(case: Case) -> str:
    """A KL that is a sum, in files whose MSE is a mean."""
    mean = any(
        called.split(".")[-1] in ("MSELoss", "mse_loss") and "reduction" not in ast.unparse(call)
        for _, tree, _ in _each(case)
        for call, called in _calls(tree)
    )
    for name, tree, _ in _each(case):
        for function in _functions(tree):
            text = ast.unparse(function)
            short = len(text) < 800 and "logvar" in text and ".exp()" in text
            if mean and short and ("torch.sum(" in text or ".sum()" in text):
                weight = "3*32*64 / 2 sigma_x^2 = 34,133 times as heavy as the ELBO with sigma_x = 0.3"
                return (
                    f"{name}:{function.lineno}: {function.name} sums over all of z beside nn.MSELoss, a mean: {weight}"
                )
    return ""


@look("learning-rate", "code")
def early_milestones(case: Case) -> str:
    """MultiStepLR whose last milestone is one of the first epochs."""
    for name, tree, _ in _each(case):
        for call, called in _calls(tree):
            listed = [node for node in ast.walk(call) if isinstance(node, (ast.List, ast.Tuple)) and node.elts]
            if called.split(".")[-1] != "MultiStepLR" or not listed:
                continue
            last = listed[0].elts[-1]
            if isinstance(last, ast.Constant) and isinstance(last.value, int) and last.value <= FIRST:
                return f"{name}:{call.lineno}: {ast.unparse(call)}"
    return ""


@look("posterior-in-validation", "code")
def posterior_is_called(case: Case) -> str:
    """A validating function calls the posterior's network."""
    for name, tree, _ in _each(case):
        for function in _functions(tree):
            if function.name.lower().startswith(("val", "test", "eval")):
                for call, called in _calls(function):
                    if called.endswith("Gaussian_Predictor"):
                        return f"{name}:{call.lineno}: {function.name} calls {called}"
    return ""


@look("bgr", "code")
def read_by_opencv(case: Case) -> str:
    """cv2.imread in a file that never exchanges the channels."""
    for name, tree, text in _each(case):
        for call, called in _calls(tree):
            if called == "cv2.imread" and not any(part in text for part in ("BGR2RGB", "::-1", "GRAYSCALE")):
                return f"{name}:{call.lineno}: {ast.unparse(call)} gives BGR"
    return ""
