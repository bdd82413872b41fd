"""One file per stage, one public function of the same name: from `Work` to `Made`. No stage imports another."""
