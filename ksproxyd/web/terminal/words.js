// What the page says, in the reader's language. {name} stands for something that is put in.

const en = {
  title: "Terminal",
  skip: "Go to the terminal",
  what: "What to open",
  pod_kind: "Container of a pod",
  kubectl_kind: "kubectl",
  kubectl_text: "A shell with kubectl in a pod of your own, with your rights.",
  node_kind: "Node",
  node_text: "A shell of root on the node itself.",
  namespace: "Project",
  pod: "Pod",
  container: "Container",
  container_default: "the pod's default",
  shell: "Shell",
  shell_auto: "bash, or sh if there is none",
  node: "Node",
  open: "Open",
  open_other: "Open another",
  upload: "Upload…",
  download: "Download…",
  larger: "Larger text",
  smaller: "Smaller text",
  reader: "Screen reader",
  sign_out: "Sign out",
  signed_in_as: "Signed in as {user}",
  language_other: "中文",
  screen: "Terminal of {where}. Ctrl+F6 leaves it.",
  keys: "Ctrl+Shift+C copies, Ctrl+Shift+V pastes, Ctrl+F6 leaves the terminal.",
  state_opening: "Opening {where} …",
  state_open: "{where}: connected",
  state_waiting: "{where}: connection lost; trying to come back …",
  state_closed: "{where}: closed",
  new_session: "the session before is over: this is a new one",
  came_back: "connected again",
  press_enter: "press Enter to open it again",
  open_again: "Open again",
  sign_in_again: "Sign in again",
  list_failed: "The list cannot be had ({message}); type the name.",
  not_opened: "The terminal cannot be opened: {message}",
  not_opened_network: "the gateway cannot be reached",
  not_opened_busy: "the gateway does not accept the connection; there may be too many sessions, or a proxy in between does not pass on WebSockets",
  why_1000: "The session has ended: {reason}.",
  why_1001: "The gateway was stopped.",
  why_1002: "The gateway did not understand this page; load it again.",
  why_1006: "The connection broke.",
  why_1007: "The gateway did not understand this page; load it again.",
  why_1009: "Something too large was sent at once.",
  why_1011: "The connection to the cluster broke, or the gateway failed.",
  why_1013: "It did not become ready in time, or this page read too slowly.",
  why_4401: "Your sign-in has ended.",
  why_4403: "You may not have this terminal (any more).",
  why_4404: "There is nothing to open a shell in: {reason}.",
  why_4408: "Nothing was typed for too long.",
  why_4409: "The session was open for as long as it may be.",
  why_4410: "The pod or its container has gone.",
  why_other: "The session has ended ({code} {reason}).",
  paste_title: "Paste several lines?",
  paste_text: "{lines} lines, {size}. A program that does not expect them may run each line at once.",
  paste: "Paste",
  cancel: "Cancel",
  close: "Close",
  copied: "Copied.",
  not_copied: "The browser does not allow copying.",
  upload_title: "Upload into {where}",
  download_title: "Download from {where}",
  files: "Files",
  folder: "Folder in the container",
  path: "File or folder in the container",
  as_tar: "as a tar archive (always so for folders)",
  start: "Start",
  progress: "{done} of {all}",
  progress_open: "{done}",
  done_upload: "Uploaded: {names}.",
  done_download: "Downloaded: {name}, {size}.",
  stopped: "Stopped.",
  transfer_failed: "That did not work: {message}",
  broke: "the connection broke",
  no_files: "Choose at least one file.",
  absolute: "The path has to begin with /.",
  needs_pod: "Files can be copied once a container is open.",
  failed: "That did not work: {message}",
};

const zh = {
  title: "终端",
  skip: "转到终端",
  what: "要打开的对象",
  pod_kind: "容器组中的容器",
  kubectl_kind: "kubectl",
  kubectl_text: "在您专属的容器组中使用 kubectl，权限与您相同。",
  node_kind: "节点",
  node_text: "节点本身的 root 终端。",
  namespace: "项目",
  pod: "容器组",
  container: "容器",
  container_default: "容器组的默认容器",
  shell: "Shell",
  shell_auto: "bash，没有则用 sh",
  node: "节点",
  open: "打开",
  open_other: "打开其他",
  upload: "上传…",
  download: "下载…",
  larger: "放大文字",
  smaller: "缩小文字",
  reader: "屏幕阅读器",
  sign_out: "退出登录",
  signed_in_as: "已登录：{user}",
  language_other: "English",
  screen: "{where} 的终端。按 Ctrl+F6 离开。",
  keys: "Ctrl+Shift+C 复制，Ctrl+Shift+V 粘贴，Ctrl+F6 离开终端。",
  state_opening: "正在打开 {where} …",
  state_open: "{where}：已连接",
  state_waiting: "{where}：连接已断开，正在恢复 …",
  state_closed: "{where}：已关闭",
  new_session: "之前的会话已结束，这是新的会话",
  came_back: "已重新连接",
  press_enter: "按回车键重新打开",
  open_again: "重新打开",
  sign_in_again: "重新登录",
  list_failed: "无法获取列表（{message}），请直接输入名称。",
  not_opened: "无法打开终端：{message}",
  not_opened_network: "无法连接网关",
  not_opened_busy: "网关未接受连接：会话可能过多，或中间的代理不转发 WebSocket",
  why_1000: "会话已结束：{reason}。",
  why_1001: "网关已停止。",
  why_1002: "网关无法理解此页面，请重新加载。",
  why_1006: "连接已断开。",
  why_1007: "网关无法理解此页面，请重新加载。",
  why_1009: "一次发送的内容过大。",
  why_1011: "与集群的连接已断开，或网关出错。",
  why_1013: "未能及时就绪，或此页面读取过慢。",
  why_4401: "您的登录已失效。",
  why_4403: "您没有（或不再有）此终端的权限。",
  why_4404: "没有可以打开终端的对象：{reason}。",
  why_4408: "长时间没有输入。",
  why_4409: "会话已达到最长时间。",
  why_4410: "容器组或其容器已不存在。",
  why_other: "会话已结束（{code} {reason}）。",
  paste_title: "粘贴多行？",
  paste_text: "{lines} 行，{size}。未预期多行输入的程序可能会立即逐行执行。",
  paste: "粘贴",
  cancel: "取消",
  close: "关闭",
  copied: "已复制。",
  not_copied: "浏览器不允许复制。",
  upload_title: "上传到 {where}",
  download_title: "从 {where} 下载",
  files: "文件",
  folder: "容器中的目录",
  path: "容器中的文件或目录",
  as_tar: "以 tar 归档下载（目录总是如此）",
  start: "开始",
  progress: "{done} / {all}",
  progress_open: "{done}",
  done_upload: "已上传：{names}。",
  done_download: "已下载：{name}，{size}。",
  stopped: "已停止。",
  transfer_failed: "操作失败：{message}",
  broke: "连接已断开",
  no_files: "请至少选择一个文件。",
  absolute: "路径必须以 / 开头。",
  needs_pod: "打开容器后才能复制文件。",
  failed: "操作失败：{message}",
};

const languages = { en, zh };

function choose() {
  const wanted = [new URLSearchParams(location.search).get("lang"), ...navigator.languages];
  const found = wanted.filter(Boolean).map((tag) => tag.toLowerCase().split("-")[0]);
  return found.find((code) => code in languages) ?? "en";
}

export const language = choose();

// What the page says for a key, with the values in their places.
export function say(key, values = {}) {
  const text = languages[language][key] ?? en[key];
  return text.replace(/\{(\w+)\}/g, (_, name) => String(values[name] ?? ""));
}

export function knows(key) {
  return key in en;
}

// Put the words into the page: data-say is an element's text, data-say-label its name for screen readers.
export function fillPage() {
  document.documentElement.lang = language === "zh" ? "zh-CN" : language;
  document.title = `${say("title")} · KubeSphere`;
  for (const element of document.querySelectorAll("[data-say]")) {
    element.textContent = say(element.dataset.say);
  }
  for (const element of document.querySelectorAll("[data-say-label]")) {
    element.setAttribute("aria-label", say(element.dataset.sayLabel));
    element.title = say(element.dataset.sayLabel);
  }
}

// A number of bytes as people read it.
export function bytes(count) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let unit = 0;
  let value = count;
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024;
    unit += 1;
  }
  const digits = unit === 0 || value >= 100 ? 0 : 1;
  return `${value.toLocaleString(language, { maximumFractionDigits: digits })} ${units[unit]}`;
}
