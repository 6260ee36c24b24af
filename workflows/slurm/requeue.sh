# Sourced by the batch scripts of this folder.
#
# run_and_requeue COMMAND...  runs COMMAND; when SLURM announces the wall time (USR1 to the batch
# shell, by --signal=B:USR1@180) the command is terminated, which loses at most the tile being
# computed or nothing of a training, and the job is requeued under its own id.

if [ -n "${STEFALAND_PROLOGUE:-}" ]; then
  source "$STEFALAND_PROLOGUE"
fi
# Several words are allowed: apptainer exec --nv stefaland.sif python
read -r -a python <<<"${STEFALAND_PYTHON:-python}"
# As many threads as allocated cores: more would only wait for each other.
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-${SLURM_CPUS_PER_TASK:-1}}

end_command() { kill -TERM "$1" 2>/dev/null; }

run_and_requeue() {
  local status=0 ended=
  "$@" &
  local command=$!
  trap 'ended=1; end_command "$command" || true' USR1
  # A trapped signal ends `wait` early, so wait until the command has really ended.
  while kill -0 "$command" 2>/dev/null; do
    status=0
    wait "$command" || status=$?
  done
  trap - USR1
  if [ -n "$ended" ] && [ "$status" -ne 0 ]; then
    echo "wall time: job ${SLURM_JOB_ID} goes into the queue again and continues from here"
    scontrol requeue "$SLURM_JOB_ID"
    exit 0
  fi
  return "$status"
}
