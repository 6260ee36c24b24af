# CPU:  docker build -t stefaland .
# CUDA: docker build -t stefaland:cuda --build-arg TORCH_INDEX=https://download.pytorch.org/whl/cu128 .
#
# The versions are those of constraints.txt, which the tests run with. Data and runs are mounted:
#   docker run -v $PWD/data:/data -v $PWD/runs:/runs stefaland run quickstart
FROM python:3.11-slim-bookworm

ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 \
    STEFALAND_DATA=/data/registry STEFALAND_RUNS=/runs \
    MPLCONFIGDIR=/tmp/matplotlib NUMBA_CACHE_DIR=/tmp/numba

RUN useradd --create-home stefaland && mkdir -p /data /runs && chown stefaland /data /runs
WORKDIR /opt/stefaland
COPY constraints.txt pyproject.toml README.md LICENSE ./
# torch first and alone: its index has nothing else, and its layer outlives changes of ours.
RUN pip install --extra-index-url "$TORCH_INDEX" -c constraints.txt torch==2.13.0
COPY pipeline pipeline
COPY stefaland stefaland
COPY workflows workflows
COPY catalogs catalogs
RUN pip install -c constraints.txt .

USER stefaland
WORKDIR /runs
ENTRYPOINT ["stefaland"]
CMD ["--help"]
